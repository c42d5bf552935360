"""fastvae: a variational-autoencoder engine for people who live in NumPy.

>>> from fastvae import VAE
>>> VAE(latent_dim=2).latent_dim
2

Importing the package imports neither numba nor anything optional: the first use does.
"""

import pathlib as _pathlib
import sys as _sys
from typing import TYPE_CHECKING

from fastvae import version as _version

if TYPE_CHECKING:  # so that a type checker knows them, and that other names are not here
    from fastvae.models.autoencoder import Autoencoder
    from fastvae.models.dbm import DBM
    from fastvae.models.denoising import DenoisingAutoencoder
    from fastvae.models.gan import GAN
    from fastvae.models.gsn import GSN
    from fastvae.models.made import MADE
    from fastvae.models.nade import NADE
    from fastvae.models.rbm import RBM
    from fastvae.models.sparse import SparseAutoencoder
    from fastvae.models.table_vae import TableVAE
    from fastvae.models.vae import VAE
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            try:
                from fastvae.models.registry import estimator

                return estimator(name)
            except AttributeError as error:  # from here it would mean that there is no such name, whatever it says
                raise ImportError(f"fastvae cannot be imported: {error}") from error
        raise AttributeError(f"module 'fastvae' has no attribute {name!r}")


__all__ = [
    "DBM",
    "GAN",
    "GSN",
    "MADE",
    "NADE",
    "RBM",
    "VAE",
    "Autoencoder",
    "DenoisingAutoencoder",
    "SparseAutoencoder",
    "TableVAE",
    "__version__",
]

__version__ = _version.VERSION

# `kernels/` is a folder beside this package in a checkout and inside it once installed. Where it is not inside,
# the checkout's root joins the search path, so that `fastvae.kernels` is one module with one name in both.
_here = _pathlib.Path(__file__).resolve().parent
if not (_here / "kernels").is_dir() and (_here.parent / "kernels").is_dir():
    __path__.append(str(_here.parent))


def __dir__() -> list[str]:
    return sorted(__all__)


if _sys.argv[:1] == ["-m"]:  # Python looks for a command of this package
    from fastvae import command_line as _command_line

    _command_line.check_imports()
