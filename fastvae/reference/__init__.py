"""The mathematics of fastvae in float64 NumPy: written to be read, from the formulas alone, importing nothing of it.

Shapes: B batch, D data, H outputs of a layer, Z latent. Everything in nats, sums over columns, means over the batch.
"""

from fastvae.reference.activations import ACTIVATIONS, LEAKY_SLOPE, d_silu, sigmoid, silu, softplus
from fastvae.reference.adversarial import accuracies, discriminator_loss, generator_loss
from fastvae.reference.autoencoder import sparse_loss_and_gradients
from fastvae.reference.autoregressive import (
    made_log_prob,
    made_logits,
    made_masks,
    masked_backward,
    masked_forward,
    mixture_log_prob,
    staircase,
)
from fastvae.reference.dense import concatenate, concatenate_backward, dense_backward, dense_forward
from fastvae.reference.gsn import gsn_loss_and_gradients
from fastvae.reference.latent import (
    LOGVAR_HIGHEST,
    LOGVAR_LOWEST,
    free_bits,
    importance_weights,
    kl_terms,
    latent_backward,
    latent_forward,
    latent_samples_backward,
    latent_samples_forward,
    limited,
    log_normal,
    repeated,
)
from fastvae.reference.likelihoods import (
    LOG_RATE_HIGHEST,
    bernoulli_forward_backward,
    bernoulli_terms,
    d_log_sigma,
    divergence_forward_backward,
    gaussian_terms,
    log_gamma,
    optimal_sigma,
    poisson_forward_backward,
    poisson_terms,
    remembered_sigma,
    soft_sigma,
    squared_error_forward_backward,
)
from fastvae.reference.mixed import continuous_bernoulli_forward_backward, mixed_inputs, mixed_terms
from fastvae.reference.nade import nade_log_prob, prefix_backward, prefix_forward, prefix_units
from fastvae.reference.noise import (
    BINARIZATION,
    INITIALISATION,
    LATENT,
    MASK,
    OBSERVATION,
    PRIOR,
    SHUFFLE,
    box_muller,
    corrupted,
    normals,
    philox4x32,
    sample_normals,
    uniform,
    uniforms,
    words,
)
from fastvae.reference.optimizers import adam, averaged, clip_scale, sgd
from fastvae.reference.pca import elbo_gap_pca, log_prob_pca, posterior_pca
from fastvae.reference.vae import vae_loss_and_gradients
