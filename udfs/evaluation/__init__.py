"""What removal did, and how precise it is: random removals, regression, similarities, precision.

random_removal.py
    null_distribution — kurtosis and entropy after random removals of a class
    NullDistribution — the result, by draw, size and component
    removal_order — the order in which a draw removes images
    band — the 95 % band of draws
    slope_band — the band of the regression's slope

regression.py
    line — the Theil–Sen line through the classes' kurtosis before and after removal
    Line — slope, intercept and the slope's interval

pair_histogram.py
    class_similarities — all similarities within a class: a histogram and a sample of pairs
    ClassSimilarities — the result
    Bins — the histogram
    SampledPairs — the sampled pairs
    heat_map — the similarities of all pairs as shades
    row_keys — a random number of each image
    pair_keys — a random number of each pair
    pair_id — the id of a pair

strata.py
    edges — the edges of the strata of similarity
    registration_edges — the edges of the strata of registration
    allocated — how many pairs each stratum gives
    draw — how many pairs each class gives to a stratum
    Draw — the result
    scale — how many pairs one sampled pair represents

precision.py
    curve — precision and recall at each threshold, from labelled pairs
    of_part — precision and recall of some of the pairs, such as those that a rule removes
    reaching — the smallest threshold that reaches a precision
    precision — the share of copies among the pairs of strata
    wilson — Wilson's interval of a share
    Pairs — drawn pairs and their labels
    Stratum — the pairs between two edges, and what their labels say
    Interval — a share and the ends of its interval
    Threshold — the estimates at a threshold
    Part — the estimates for some of the pairs
"""
