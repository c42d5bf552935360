"""The estimators by name, and the module that each is in."""

ESTIMATORS = {
    "SparseAutoencoder": "fastvae.models.sparse",
    "VAE": "fastvae.models.vae",
    "Autoencoder": "fastvae.models.autoencoder",
    "DBM": "fastvae.models.dbm",
    "DenoisingAutoencoder": "fastvae.models.denoising",
    "GAN": "fastvae.models.gan",
    "GSN": "fastvae.models.gsn",
    "MADE": "fastvae.models.made",
    "NADE": "fastvae.models.nade",
    "TableVAE": "fastvae.models.table_vae",
    "RBM": "fastvae.models.rbm",
}
