"""The static site: its pages, what Sphinx needs to build them, and its tests. `python -m tests.site` builds it."""
