"""The mathematics of the project: arrays in, arrays out, without Spark, files or settings.

One folder for each step of the flow, in the order of the flow. The docstring of each folder's
`__init__` lists what is public in it. Importing a folder imports none of its modules, so torch and
Numba are loaded only by the modules that need them.

acquisition: pixels from image files, and rendered images for trials
autoencoder: the convolutional autoencoder that turns images into latents (torch)
density: histograms, B-spline densities, principal components, modes, and points drawn from them
duplicates: which images of a group are kept, at which threshold, and the audit of that
evaluation: similarities of pairs, their precision, and the effect of random removals
registration: whether one picture can be laid over another one (Numba; torch on a GPU)
report: charts, and how pictures are laid over each other
vectors: cosine similarities, exact and bounded, of many vectors; whitening (Numba; torch on a GPU)

The module `arrow` is the only one that knows Arrow and pandas:

arrow.py
    binary_matrix — rows of equal length of a binary column as bytes
    bytes_column — a list column of float32 as a binary column
    float_matrix — rows of a binary column as float32
    groups — runs of equal key in batches that are sorted by it
    list_column — a matrix as a list column
    list_series — a matrix as a pandas column
    masks — rows of a binary column as whole numbers
    matrix — rows of equal length of a list column as a matrix
    packed_column — rows of bytes as a binary column
    padded_batch — columns by name as one batch of a schema, the missing ones null
    ragged — rows of any length of a list column
    record_batch — columns by name as one batch of a schema
    series_matrix — a pandas column of bytes of equal length as a matrix
"""
