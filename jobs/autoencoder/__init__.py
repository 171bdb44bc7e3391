"""Training, encoding and whitening: everything from `images` to `latents` and `vectors`."""
