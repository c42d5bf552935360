"""Layers: what writes the passes forward and backward over weights of its own. See `fastvae.passes`."""

from fastvae.layers.dense import LAYERS as LAYERS
from fastvae.layers.dense import MLP as MLP
from fastvae.layers.dense import RECTIFIERS as RECTIFIERS
from fastvae.layers.dense import Dense as Dense
from fastvae.layers.dense import Linear as Linear
from fastvae.layers.dense import Width as Width
from fastvae.layers.dense import activations as activations
from fastvae.layers.dense import mirrored as mirrored
from fastvae.layers.joined import joined as joined
from fastvae.layers.latent import latent as latent
from fastvae.layers.latent import latent_samples as latent_samples
from fastvae.layers.tied import Bias as Bias
from fastvae.layers.tied import Tied as Tied
from fastvae.layers.tied import ones as ones
from fastvae.layers.wiring import Half as Half
from fastvae.layers.wiring import Layer as Layer
