"""Loops over pairs of rows that no library runs in one pass, compiled by Numba.

`udfs.vectors.cosine` and `udfs.vectors.screen` call them; other code calls those.

vnni
    has_byte_products: whether this processor multiplies vectors of bytes
    pairs_above: the pairs whose product of whole numbers is above a bound
loops
    entries_above: the entries of a matrix that are above a bound
    products_at, products_above: single entries of a matrix product
    scaled, squares, split_sums: divided rows, sums of squares, sums of split products
compiling
    compiled, summed, inlined: decorators that compile a loop and keep the result on disk
    emitted: decorator for a function made of LLVM instructions
    SourceLocator: where Numba keeps the compiled code

Importing this package compiles and imports nothing.
"""
