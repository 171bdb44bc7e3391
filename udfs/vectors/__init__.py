"""Cosine similarities of many vectors, exact and bounded, and the whitening of latents.

cosine.py
    decision_bounds — the float32 products that decide whether Sim > T
    exact_dot — the correctly rounded dot product of two vectors
    exact_similarity — the cosine similarity Sim of two vectors
    margin — how far a float32 product may lie from Sim
    products — all dot products of two matrices, in float32
    similarities — Sim of the rows of two matrices
    similarities_at — Sim of pairs of rows by their indices
    squared_norms — the squares of the rows' lengths, correctly rounded
    unit_rows — rows scaled to length 1
pairs.py
    SearchableRows — rows prepared once, to be searched for rows that resemble other vectors
    similar_pairs — all pairs of rows with Sim > T
nearest.py
    Nearest — the most similar row of each vector, among rows that arrive in batches
screen.py
    BoundedVectors — vectors prepared for the bounds
    Candidates — pairs that may be similar
    Screen — the bounds that rule pairs out
    byte_product_cost — the cost of an entry of a product of whole numbers
    product_cost — the cost of an entry of a matrix product
    single_cost — the cost of an entry that is computed by itself
axes.py
    fitting_sample — the rows that a screen is fitted on
    leading_axes — the leading eigenvectors of a set of vectors
    spread — evenly spread rows
byte_bound.py
    ByteBound — coordinates in bytes, whose product bounds the cosine
gpu.py
    DeviceProducts — products computed on a GPU by torch
validation.py
    Checked — the usable rows of a table of given vectors
    checked — which rows of a table of given vectors can be compared
whitening.py
    Moments — count and second moments of latents
    Whitening — whitened vectors of latents

`kernels` holds the compiled loops.
"""
