"""What training minimises: the error of the reconstruction and, if asked, a contrastive term."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from udfs.autoencoder.augmentation import Augmentation, augment
from udfs.autoencoder.contrastive import ContrastiveTerm, Head, nt_xent
from udfs.autoencoder.model import WIDTH, Autoencoder

# With the contrastive term one image in RECONSTRUCTED is decoded: the decoder takes three fifths of
# a plain step, and encoding a second view would otherwise lengthen the step by two fifths.
RECONSTRUCTED = 2


class ReconstructionObjective(nn.Module):
    """The paper's objective: the mean squared error of the reconstruction alone."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what is minimised, the error and None for images (n, 3, 64, 64) in [-1, 1]."""
        error = nn.functional.mse_loss(self.model(images), self.model.target(images))
        return error, error, None


class ContrastiveObjective(nn.Module):
    """The error of clean images rebuilt from augmented views, plus w · NT-Xent of two views.

    mean (Decode(Code(x′)) − x)² + w·L, where x′ is a view of the image x and L the contrastive loss
    of two views of each image of the batch (`udfs.autoencoder.contrastive.nt_xent`).
    """

    def __init__(self, model: Autoencoder, contrastive: ContrastiveTerm, seed: int) -> None:
        super().__init__()
        self.model = model
        device = next(model.parameters()).device
        self.head = Head(WIDTH).to(device)
        self.contrastive = contrastive
        self.generator = torch.Generator(device).manual_seed(seed)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the total, the reconstruction error and NT-Xent for images (n, 3, 64, 64).

        Two views of each image are encoded as one batch. One in RECONSTRUCTED of the first views'
        latents is decoded, since the reconstruction error needs no more.
        """
        n, reconstructed = len(images), -(-len(images) // RECONSTRUCTED)
        # In bfloat16 the sampled positions would be off by up to a quarter of a pixel.
        with torch.autocast(images.device.type, enabled=False):
            views = augment(torch.cat([images, images]), Augmentation(), self.generator)
        latents = self.model.encode(views)
        decoded = self.model.decode(latents[:reconstructed])
        error = nn.functional.mse_loss(decoded, self.model.target(images[:reconstructed]))
        projected = self.head(latents).float()
        # The three digits of bfloat16 are too few for the loss.
        with torch.autocast(images.device.type, enabled=False):
            loss = nt_xent(projected[:n], projected[n:], self.contrastive.temperature)
        return error + self.contrastive.weight * loss, error, loss
