"""Registration on a torch device, in batches of pairs: what `Registrar` does for another device.

It computes what `udfs.registration.kernels` computes, in float32: the same pictures, planes,
weights, starts, steps, limits and scores. Sums are taken in another order, so scores differ from
the processor's by rounding, and a pair whose search ends between two maxima may reach the other.

pictures.py
    gaussian_matrix — the matrix that blurs along one axis
    gradients — central differences along both axes
    normalised — contrast normalisation
    structure — derivatives and structure tensors
    frame — the pixels of a picture as places
    sampled — pictures at given places
    PictureBatch — what is computed once for each picture
coarse.py
    starts — the transforms of a grid at which pairs correlate most
refinement.py
    Level — what Gauss–Newton steps need of pictures of one size
    matrices — transforms as matrices in pixels
    climb — Gauss–Newton steps from given transforms
    Refined — the outcome of a refinement
    refine — the best of several starts for each pair
evidence.py
    Evidence — the scores of transforms
    judge — the scores of the transforms of pairs
registrar.py
    DeviceRegistrar — registers pairs of a set of pictures
"""
