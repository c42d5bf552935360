"""The data set that comes with the package: 1797 handwritten digits of 8 x 8 pixels (see digits8x8.LICENSE.txt)."""

import importlib.resources

import numpy as np

from fastvae.data.dataset import DataSet
from fastvae.data.files import access


def load_digits() -> DataSet:
    """Return the digits: X (1797, 64) uint8 with values 0 to 16, labels (1797,) uint8, images of 8 x 8.

    Raises
    ------
    FileAccessError
        The file is missing from the installation.

    Notes
    -----
    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    doi 10.24432/C50P49, CC BY 4.0: the test part.
    """
    source = importlib.resources.files("fastvae.data").joinpath("digits8x8.npz")
    with access(str(source)), source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return DataSet.from_arrays("digits", images, labels, value_range=(0.0, 16.0))
