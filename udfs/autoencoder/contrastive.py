"""The contrastive term of training: two augmented views of an image must recognise each other.

Use it beside the reconstruction error, to teach the encoder which images are different ones. It is
the normalised temperature-scaled cross-entropy (NT-Xent) of T. Chen, S. Kornblith, M. Norouzi and
G. Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

HIDDEN, PROJECTED = 256, 128  # units of the head's two layers


@dataclass(frozen=True)
class ContrastiveTerm:
    """The term weight · NT-Xent that is added to the reconstruction error.

    weight: above 0; 1 counts the term as much as the mean squared error. temperature: τ, above 0; a
    small one makes the most similar of the other images count most.
    """

    weight: float
    temperature: float


class Head(nn.Module):
    """The projection of latents (n, width) to the vectors (n, 128) that are compared.

    It is trained with the encoder and dropped afterwards. Without it the term would remove from the
    latents what tells views of one image apart (Chen et al., section 4.2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, PROJECTED)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Project latents: (n, width) → (n, 128)."""
        return cast(Tensor, self.layers(latents))


def nt_xent(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss NT-Xent of two views of n images: (n, d), (n, d) → a number.

    The loss is the mean over all 2n views i of −ln(exp(s_ij/τ) / Σ_{k≠i} exp(s_ik/τ)), where s is
    the cosine of two views, j the other view of the same image, and k runs over all other views
    of the batch (Chen et al., equation 1). It is ln(2n − 1) if all views are alike and near 0 if
    each view is most similar to its partner.

    Args:
        left: one view of each image.
        right: another view of each image, in the same order.
        temperature: τ, above 0.

    Raises:
        ValueError: the shapes differ, or the temperature is not above 0.

    """
    if left.shape != right.shape:
        raise ValueError(f"views: are {tuple(left.shape)} and {tuple(right.shape)}, must be alike")
    if not temperature > 0:
        raise ValueError(f"temperature: is {temperature}, must be above 0")
    n = len(left)
    views = nn.functional.normalize(torch.cat([left, right]), dim=1)
    cosines = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=left.device).roll(n)
    return nn.functional.cross_entropy(cosines, partner)
