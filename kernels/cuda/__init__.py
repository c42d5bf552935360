"""The contract of `fastvae.kernels` on numba.cuda."""
