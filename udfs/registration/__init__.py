"""Registration: whether one picture can be laid over another one, and how much they share.

The latents of two images say that they look alike; that they show the same is proved here.

pictures.py
    grey_of — the grey picture of stored pixels
    turned — one of the eight orientations of a picture
    Prepared — what is computed once for each picture
coarse.py
    starts — the transforms of a grid at which two pictures correlate most
limits.py
    numbers that both the CPU's and a device's search hold to
registrar.py
    Registrar — registers pairs of a set of pictures
alignment.py
    Alignments — the transforms of pairs, their scores and their evidence
    proved — whether pairs are proved to show the same
check.py
    rescored — the score of a transform, by other code, for the audit
    registered_anew — the best transform of another search
kernels.py
    loops over pixels, compiled by Numba
gpu/
    the same on a torch device, in batches of pairs
"""

from udfs.registration.alignment import Alignments, proved
from udfs.registration.pictures import grey_of, turned
from udfs.registration.registrar import Registrar

__all__ = ["Alignments", "Registrar", "grey_of", "proved", "turned"]
