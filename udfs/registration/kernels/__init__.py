"""Loops over the pixels of pictures, compiled by Numba.

`udfs.registration.pictures`, `coarse` and `registrar` call them; other code calls those. Compiled
code is kept for later processes by a hash of this package's source, so whatever number the loops
read and do not get as an argument stands in it.

contrast.py
    blur — a Gaussian along both axes
    gradients — central differences
    normalise — contrast normalisation
    prepare — normalised pictures and gradients of a picture, at full and at half size
    fill_structure — derivatives and structure tensor, for other loops
    structure — the same
gradients.py
    windows — histograms of the directions of gradients, in overlapping windows
grid.py
    at — a picture between its pixels
    resampled — a picture through matrices
    multiplied — products of spectra
    highest — the largest entries of planes
refinement.py
    climb — Gauss–Newton steps from one start
    refine — the best of several starts, refined
    significance — what transforms of unlike overlaps are compared by
evidence.py
    judge — the score of a transform and its evidence
"""
