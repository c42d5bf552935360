"""Kernels of tests to PTX by numba-cuda's compiler, which needs no device."""

import importlib.util
import types


def why_not():
    """What is missing to compile, or None."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    try:
        compiled(_nothing, "void()", (8, 0))
    except Exception as error:
        if any(word in str(error).lower() for word in ("nvvm", "nvrtc", "nvjitlink", "cudart", "toolkit", "driver")):
            return f"the CUDA toolkit is not installed: {error}"
        raise
    return None


def _nothing():
    pass


COMPILED = {}


def compiled(kernel, signature, capability, **options):
    """A kernel's PTX, compiled once for all sizes that a test runs it with."""
    from numba import cuda

    key = (kernel.__module__, kernel.__qualname__, capability, *options.items())
    if key not in COMPILED:
        COMPILED[key] = cuda.compile_ptx(kernel, signature, cc=capability, **options)[0]
    return COMPILED[key]


def pretend_device(monkeypatch, capability):
    """Let kernels call device functions without a device: numba-cuda asks it for its compute capability."""
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
