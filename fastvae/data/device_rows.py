"""Arrays that lie on a GPU already: used in place where the model computes there, copied to the host elsewhere."""

from typing import Any, Self

import numpy as np

from fastvae.data.number_types import direct


class DeviceRows:
    """An array (N, D) on a device, with as much of NumPy's interface as a pass over its rows needs.

    Parameters
    ----------
    array
        C-contiguous, as numba.cuda has it.
    """

    ndim = 2

    def __init__(self, array: Any):
        self.array, self.shape, self.dtype = array, array.shape, np.dtype(array.dtype)

    @property
    def size(self) -> int:
        """Numbers."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.array[rows])

    def host(self) -> np.ndarray:
        """A copy on the host."""
        from fastvae.kernels.cuda.driver import device

        out = np.empty(self.shape, self.dtype)
        device().read(self.array.reshape(self.size), out.reshape(-1))
        return out

    def astype(self, dtype: Any) -> np.ndarray:
        """A copy on the host, of another type."""
        return self.host().astype(dtype)


def is_on_device(X: object) -> bool:
    """Whether X says that it lies on a GPU (CUDA array interface): an array of CuPy, PyTorch, numba.cuda, ..."""
    return not isinstance(X, np.ndarray) and hasattr(X, "__cuda_array_interface__")


def adopt(X: Any, name: str) -> Any:
    """X as `DeviceRows`, where it is a C-contiguous table of a type that kernels read; else its copy on the host.

    Raises
    ------
    ValueError
        There is no GPU that could read it.
    """
    from fastvae.backend import missing_cuda

    if reason := missing_cuda():
        raise ValueError(f"{name} is an array on a GPU, but {reason}; or pass a copy on the host")
    from fastvae.kernels.cuda.driver import device

    try:
        array = device().adopt(X)
    except Exception as error:
        raise ValueError(
            f"{name} says that it is an array on a GPU, but cannot be read as one ({error}); pass a copy on the host"
        ) from None
    if array.ndim == 2 and array.size and direct(np.dtype(array.dtype)) and array.is_c_contiguous():
        return DeviceRows(array)
    if min(array.strides, default=0) < 0:
        raise ValueError(f"{name} runs backwards through a GPU's memory (strides {array.strides}): pass a copy of it")
    return array.copy_to_host()


def on_host(X: Any) -> np.ndarray:
    """X, or its copy on the host."""
    return X.host() if isinstance(X, DeviceRows) else X
