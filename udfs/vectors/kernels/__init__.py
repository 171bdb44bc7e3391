"""Loops over pairs of rows that no library runs in one pass, compiled by Numba.

`udfs.vectors.cosine` and `udfs.vectors.screen` call them; other code calls those.

vnni.py
    has_byte_products — whether this processor multiplies vectors of bytes
    pairs_above — the pairs whose product of whole numbers is above a bound
loops.py
    contiguous — an array in the type and memory layout that the loops are compiled for
    entries_above — the entries of a matrix that are above a bound
    flagged_entries — rows and columns of the bits that are set
    products_above — single entries of a matrix product that are above a bound
    products_at — single entries of a matrix product
    scaled — rows divided by their lengths
    split_sums — sums of the high and of the low parts of products
    squares — sums of squares of rows
compiling.py
    compiled — compile a loop as it is written
    emitted — make a function out of LLVM instructions
    inlined — compile a function that other loops call
    summed — compile a loop whose sums may be reordered
cache.py
    CheckedCache — Numba's cache of a function, whose damaged files count as missing
    SourceLocator — where Numba keeps the compiled code
    check_private — refuses a folder in which others can put their own
    package_digest — a hash of a package's source and of the processor
"""
