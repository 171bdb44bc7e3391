"""Which images of a group are kept, the thresholds for that, and an independent audit.

greedy.py
    Reference — reference images prepared once, to be compared with batches of candidates
    cover — the greedy cover of a group at one threshold
    covers — greedy covers of a group at several thresholds
cover_search.py
    Cover — what a cover decided for each candidate
    CoverSearch — a search for the keepers of candidates
    ImageVectors — the vectors of reference images and candidates together
    KeptImages — the images that are kept so far, prepared for the bounds
    blocks — indices in consecutive parts
    check_search — check thresholds and block size
    checked_mask — check a mask by threshold and image
    checked_order — check an order of candidates
proof_cover.py
    ProofCover — what one rule decided for each candidate
    ProofCovers — what all rules decided, and the pairs that were tried
    ProofReference — kept images prepared once, to be compared with batches of candidates
    ProofRules — when a picture counts as a near-copy of another one
    proof_covers — covers of a group in which every removal is proved by registration
proof_attempts.py
    Attempts — what one rule tries for the images of a block
    SimilarPairs — pairs of a block's images with images before them that may be tried
pair_alignments.py
    Aligner — what registers pictures
    KnownAlignments — alignments of earlier runs
    PairAlignments — alignments of pairs: identical, known or registered
    LargerOverlaps — the same, where it is enough that one image shows the other
    TriedPairs — pairs that were tried, with their alignments
thresholds.py
    AngleMoments — count, mean, spread and range of angles
    BisectionSearch — halvings towards the lowest threshold that keeps enough images
    angle_histogram — the histogram of angles
    keep_share — the threshold that keeps a share of a group
    kept_counts — how many images of a group each threshold keeps
    pair_angles — the angles of all pairs of rows
    pair_rate — the threshold above which lies a share of the pairs
audit.py
    cosines — cosines of the rows of two matrices, in plain float64
    pairs_above — pairs of a sampled image and a row above a threshold, in plain float64
"""
