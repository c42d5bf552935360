"""The command."""

import sys

from fastvae.export.command import main

if __name__ == "__main__":
    sys.exit(main())
