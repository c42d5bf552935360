"""What a data set is: examples as rows, and what its source says about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastvae.data.columns import Columns
from fastvae.errors import DataFileError, counted


@dataclass(frozen=True, eq=False)
class DataSet:
    """Examples as rows, and what the source says about them.

    Attributes
    ----------
    name : str
        "digits", "mnist", or the name of the file.
    X : ndarray (N, D)
        The examples, real, in the dtype of the source; a read-only memory map where the file allows one. It may be
        big-endian (IDX) or in Fortran order (`.npy`): convert batch by batch.
    labels : ndarray (N,) or None
        Numbers or text.
    image_shape : (height, width), or (height, width, 3) in colour, or None
        Where each row is an image: D is their product.
    value_range : (low, high) or None
        The range that the source allows, where it is known without looking: (0, 255) for uint8 images.
    X_heldout, labels_heldout : ndarray (M, D), (M,) or None
        The test part, where the source has one.
    column_names : tuple of D str or None
        The header of a table.
    condition, condition_heldout : ndarray (N,) or (N, C), (M,) or (M, C), or None
        What a conditional model is given beside the examples, and the test part: numbers or text.
    ids : ndarray (N,) or None
        Names of the rows, as text, where a column of a table has them.
    table : Columns or None
        What the columns are, where they are of several kinds or have gaps; X is an `Encoded` then.
    remarks : tuple of str
        What should be known of how it was read.
    unknown : ndarray (N, D) of bool, or None
        Values that a model does not know, words that its training did not have: X has them as missing.
    """

    name: str
    X: np.ndarray
    labels: np.ndarray | None = None
    image_shape: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    X_heldout: np.ndarray | None = None
    labels_heldout: np.ndarray | None = None
    column_names: tuple[str, ...] | None = None
    condition: np.ndarray | None = None
    condition_heldout: np.ndarray | None = None
    ids: np.ndarray | None = None
    table: Columns | None = None
    remarks: tuple[str, ...] = ()
    unknown: np.ndarray | None = None

    def as_images(self, shape: Sequence[int]) -> "DataSet":
        """The same, where rows of a table are images of that shape: (height, width), (height, width, 1), or (height,
        width, 3), in colour.

        Raises
        ------
        ValueError
            They are no such images.
        """
        given, columns = " ".join(map(str, shape)), self.X.shape[1]
        if self.table is not None:
            raise ValueError(f"--image-shape {given}: {self.name} is a mixed table, of words or with gaps")
        if self.image_shape is not None:
            known = " x ".join(map(str, self.image_shape))
            raise ValueError(f"--image-shape {given}: {self.name} is of images already, {known}: leave it out")
        if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] not in (1, 3)):
            raise ValueError(f"--image-shape {given}: expected HEIGHT WIDTH, and 3 for images in colour")
        if math.prod(shape) != columns:
            product, found = " x ".join(map(str, shape)), counted(columns, "column")
            raise ValueError(f"--image-shape {given}: {product} is {math.prod(shape):,}; {self.name} has {found}")
        return replace(self, image_shape=tuple(shape[:2] if shape[2:] == [1] else shape))

    @classmethod
    def from_arrays(
        cls,
        name: str,
        array: np.ndarray,
        labels: np.ndarray | None = None,
        heldout: np.ndarray | None = None,
        labels_heldout: np.ndarray | None = None,
        value_range: tuple[float, float] | None = None,
        where: object = None,
    ) -> "DataSet":
        """Make rows of tables (N, D) or images (N, H, W); a memory map stays one.

        Raises
        ------
        DataFileError
            Neither a table nor images, not real numbers, empty, or counts that differ; `where` begins the message.
        """
        where = name if where is None else where
        X, image_shape = _rows(array, where)
        if value_range is None and image_shape and X.dtype == np.uint8:
            value_range = (0.0, 255.0)
        if value_range is None and X.dtype == np.bool_:
            value_range = (0.0, 1.0)
        _check_labels(labels, X, where)
        X_heldout = None
        if heldout is not None:
            X_heldout, _ = _rows(heldout, where)
            if heldout.shape[1:] != array.shape[1:]:
                raise DataFileError(f"{where}: training rows are {array.shape[1:]}, test rows are {heldout.shape[1:]}")
            _check_labels(labels_heldout, X_heldout, where)
        return cls(name, X, labels, image_shape, value_range, X_heldout, labels_heldout)


def _rows(array: np.ndarray, where: object) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Return (N, D) and the image shape: a view, but for a Fortran-ordered stack that is in memory anyway."""
    if array.dtype.kind not in "buif":
        raise DataFileError(f"{where}: holds {array.dtype}, not real numbers; store integers or floats")
    if array.ndim not in (2, 3):
        raise DataFileError(
            f"{where}: shape {array.shape} has {array.ndim} dimensions; "
            "reshape it to a table (N, D) or to images (N, height, width)"
        )
    if array.size == 0:
        raise DataFileError(f"{where}: shape {array.shape} holds no values")
    if array.ndim == 2:
        return array, None
    if isinstance(array, np.memmap) and not array.flags.c_contiguous:
        raise DataFileError(
            f"{where}: images {array.shape} in Fortran order cannot be read as rows in place; "
            "save them with np.save(path, np.ascontiguousarray(images))"
        )
    return array.reshape(len(array), -1), (array.shape[1], array.shape[2])


def _check_labels(labels: np.ndarray | None, X: np.ndarray, where: object) -> None:
    if labels is not None and labels.shape != (len(X),):
        raise DataFileError(f"{where}: labels have shape {labels.shape}; {len(X)} examples need ({len(X)},)")


def side_by_side(columns: Sequence[np.ndarray], names: Sequence[str], where: object) -> np.ndarray:
    """Columns of a condition as one: a single one as it is (N,) or (N, C), several, numbers all, as (N, C) float64."""
    if len(columns) == 1:
        return columns[0]
    for column, name in zip(columns, names, strict=True):
        if column.dtype.kind not in "buif":
            raise DataFileError(
                f"{where}: a condition of several columns must be numbers; {name!r} holds {column[:1].tolist()[0]!r}"
            )
    return np.column_stack([column.astype(np.float64) for column in columns])
