"""The convolutional autoencoder: model, training, inference."""
