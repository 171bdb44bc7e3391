"""Registration: whether one picture can be laid over another one, and how much they share.

Vectors of gradients propose pairs that may show the same; that they do is proved by registration.

pictures.py
    grey_of — the grey picture of stored pixels
    turned — one of the eight orientations of a picture
    gaussian — the weights of a Gaussian
    kernels_of_contrast — the Gaussians of contrast normalisation
    kernels_of_structure — those of derivatives and of the structure tensor
    Prepared — what is computed once for each picture
    structure_of — smoothed derivatives and structure tensor of a picture
limits.py
    numbers that the search holds to, on the processor and on a device
coarse.py
    template_spectra — spectra of the first picture of pairs
    other_spectra — spectra of the other one
    starts — the transforms of a grid at which two pictures correlate most
    weights — what correlations of the grid are multiplied by
gradients.py
    coordinates — the coordinates that are kept of a window
    gradient_vectors — vectors of pictures by which pairs are proposed
    width — the length of such a vector
registrar.py
    Registrar — registers pairs of a set of pictures
alignment.py
    Alignments — the transforms of pairs, their scores and their evidence
    displacement — by how far a corner is moved
    least_at_half_size — the overlap at half size that pairs need
    shares — whether a picture shows a share of the other one
    evidence — the agreement as it counts for a proof
    proved — whether pairs are proved to show the same
check.py
    Score — the score of one transform
    rescored — the score of a transform, by other code, for the audit
    registered_anew — the best transform of another search
The folder `kernels` holds the loops, which Numba compiles; `gpu` does the same in batches of pairs,
on a torch device.
"""

from udfs.registration.alignment import Alignments, evidence, proved, shares
from udfs.registration.pictures import grey_of, turned
from udfs.registration.registrar import Registrar

__all__ = ["Alignments", "Registrar", "evidence", "grey_of", "proved", "shares", "turned"]
