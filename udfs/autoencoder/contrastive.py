"""Telling images apart: each is to be recognised by a changed view of it among a batch.

The normalised temperature-scaled cross-entropy of T. Chen, S. Kornblith, M. Norouzi and G. Hinton,
"A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

HIDDEN, SEEN = 256, 128  # units of the head


@dataclass(frozen=True)
class Instance:
    """The term beside the reconstruction: weight · NT-Xent at a temperature, both above 0."""

    weight: float
    temperature: float


class Head(nn.Module):
    """Latents (n, width) to what is compared, (n, 128): trained with the encoder, then dropped.

    Without it the term would cost the latents what tells an image's views apart (Chen et al.,
    section 4.2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, SEEN)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(n, width) to (n, 128)."""
        return cast(Tensor, self.layers(latents))


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The mean over all 2n views of −ln(exp(s_ij/τ) / Σ_{k≠i} exp(s_ik/τ)), a number.

    one, other: (n, d), two views of each image, row by row; s: the cosine of two views; i, j: the
    two of one image; k: all others of the batch. ln(2n − 1) where all are alike, near 0 where each
    is recognised. Raises ValueError for unlike shapes or a temperature that is not above 0.
    """
    if one.shape != other.shape:
        raise ValueError(f"views: are {tuple(one.shape)} and {tuple(other.shape)}, must be alike")
    if not temperature > 0:
        raise ValueError(f"temperature: is {temperature}, must be above 0")
    n = len(one)
    views = nn.functional.normalize(torch.cat([one, other]), dim=1)
    cosines = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.arange(2 * n, device=one.device).roll(n)
    return nn.functional.cross_entropy(cosines, partner)
