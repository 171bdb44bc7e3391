"""Training, encoding and whitening: from `images` to `latents` and `vectors`."""
