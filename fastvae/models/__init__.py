"""One estimator a file; what they share is in `base`."""
