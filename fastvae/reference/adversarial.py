"""Generative adversarial networks (Goodfellow et al. 2014): the losses of both networks, from the logits of D."""

from fastvae.reference.activations import softplus


def discriminator_loss(real, generated, label_smoothing=0.0):
    """Means over the batch of -(1 - s) log sigmoid(a) - s log(1 - sigmoid(a)) over logits a (B,) of the data, and of
    -log(1 - sigmoid(a)) over those of generated rows; s > 0 is one-sided label smoothing (Salimans et al. 2016)."""
    return (softplus(real) - (1.0 - label_smoothing) * real).mean() + softplus(generated).mean()


def generator_loss(generated):
    """Mean of -log sigmoid(a): the loss that does not saturate (Goodfellow et al. 2014, section 3)."""
    return softplus(-generated).mean()


def accuracies(real, generated):
    """Shares of the rows of the data, and of the generated ones, that D is right about."""
    return (real > 0).mean(), (generated <= 0).mean()
