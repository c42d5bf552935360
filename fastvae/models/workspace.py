"""The buffers of one batch through a whole VAE, with the passes that were written down over them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae.data.minibatches import direct
from fastvae.data.scaling import arithmetic
from fastvae.kernels.memory import empty
from fastvae.kernels.scalars import FIRST_ROW, NOISE_STEP, OUTSIDE, SIGMA, Scalars
from fastvae.layers import Buffers, Program

if TYPE_CHECKING:
    from fastvae.models.vae_network import VAENetwork

EVALUATION = 0  # the step of all noise outside training, whose steps count from 1


class Workspace:
    """Buffers for `rows` rows; without `backward`, those of the forward pass alone.

    Attributes
    ----------
    x, z : (B, D) and (B, Z)
        What the encoder and the decoder read.
    mu, logvar, encoder, decoder
        `Buffers` of the layers.
    nll, kl : (B,)
    nlls
        nll (B,) of each draw of z, of a pass with several.
    """

    def __init__(self, network: "VAENetwork", rows: int, seed: np.uint64, backward: bool = True):
        self.network, self.scalars = network, Scalars(seed)
        self._passes: dict[tuple[Any, ...], Program] = {}
        self.x = empty(rows, network.architecture.inputs)
        self.encoder = network.encoder.buffers(rows, backward) if network.complete else []
        self.mu, self.logvar = network.mu.buffers(rows, backward), network.logvar.buffers(rows, backward)
        self.decoder = network.decoder.buffers(rows, backward)
        self.z = empty(rows, network.architecture.latent_dim)
        self.d_z = empty(*self.z.shape) if backward else self.z
        self.noise = empty(*self.z.shape) if backward and network.kernels.KEEPS_NOISE else self.z
        self.kl, self.nll = empty(rows), empty(rows)
        self.scratch = network.likelihood.scratch()
        self.nlls: list[np.ndarray] = []

    def rows(self, start: int, stop: int) -> "Workspace":
        """Views of the rows start ... stop - 1; the scalars are the same."""
        view = object.__new__(Workspace)
        for name, value in vars(self).items():
            if isinstance(value, list):
                value = [b.rows(start, stop) for b in value]
            elif isinstance(value, Buffers):
                value = value.rows(start, stop)
            elif isinstance(value, np.ndarray):
                value = value[start:stop]
            setattr(view, name, value)
        view._passes, view.scratch = {}, self.network.likelihood.scratch()
        return view

    def prepare(
        self, name: str, rows: np.ndarray, first_row: int, binarize: str | float | None, draws: int = 1, step: int = 0
    ) -> Program:
        """The pass of that name (see `VAENetwork.write`) over rows of the data, those from `first_row` on, with so many
        draws of z each, of the noise of a step: ready to be run once, while `rows` is held here."""
        if not direct(rows.dtype):  # never so on a device
            rows = rows.astype(arithmetic(rows.dtype))
        key = name, rows.dtype, binarize, draws
        program = self._passes.get(key)
        if program is None:
            program = self._passes[key] = self.network.backend.program(self.scalars)
            self.network.write(name, program, self, rows.dtype, binarize, draws)
        integers = self.scalars.integers
        integers[FIRST_ROW], integers[NOISE_STEP], integers[OUTSIDE] = first_row, step, 0
        program.read(rows)  # `VAE._over` lets them go
        self.scalars.reals[SIGMA] = self.network.likelihood.fixed_sigma
        return program

    @property
    def in_range(self) -> bool:
        """After a run, whether all values were where they should be: see `VAENetwork.limits`."""
        return self.scalars.integers[OUTSIDE] == 0
