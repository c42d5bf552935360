"""Pictures of a fitted model, each a figure of matplotlib, written to `path` too where one is given.

Of a training `learning_curves`; of what a model makes `samples`, `reconstructions`, `latent_grid` and `traversals`; of
its codes `latent` and `kl_per_dimension`; of a table beside data `marginals`, `pairs` and `correlations`; of scores
`scores`. They need the extra `plot`, and import matplotlib when they are called.

>>> from fastvae import VAE, pictures
>>> from fastvae.data.digits import load_digits
>>> X = load_digits().X[:200] / 16
>>> vae = VAE(latent_dim=2, hidden=(16,), epochs=2, random_state=0).fit(X)
>>> figure = pictures.samples(vae, 16, image_shape=(8, 8))  # figure.savefig("samples.png"), or path="samples.png"
"""

from fastvae.pictures.correlations import correlations
from fastvae.pictures.curves import learning_curves
from fastvae.pictures.decoded import latent_grid, traversals
from fastvae.pictures.latent import kl_per_dimension, latent
from fastvae.pictures.pairs import pairs
from fastvae.pictures.rows import reconstructions, samples
from fastvae.pictures.run import write_pictures, write_samples
from fastvae.pictures.scores import scores
from fastvae.pictures.tables import marginals

__all__ = [
    "correlations",
    "kl_per_dimension",
    "latent",
    "latent_grid",
    "learning_curves",
    "marginals",
    "pairs",
    "reconstructions",
    "samples",
    "scores",
    "traversals",
    "write_pictures",
    "write_samples",
]
