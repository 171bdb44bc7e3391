"""Densities of classes in the space of latents: histograms, B-splines, principal axes, modes.

histogram.py
    Histogram — counts of values in cells of one width
    Joint — counts in the occupied cells over several axes
    from_values — the histogram of values
    from_cells — the histogram of cells that were counted elsewhere
    joint — the joint histogram of cells that were counted elsewhere
    cell — the cell of each value
    step_of — the width of a cell for values, by a rule
    step — the width of a cell for known statistics, by a rule
    step_scott — Scott's rule
    step_fd — the rule of Freedman and Diaconis
    step_sturges — Sturges' rule
    step_normal — the best step of the spline for normal data

marginal.py
    Marginal — the density of one coordinate: cdf, quantiles, samples, entropy, modes

separable.py
    Separable — the product of marginals, as if coordinates were independent

tensor.py
    Tensor — the density of several coordinates that may depend on each other
    Estimate — a mean over drawn points, with its standard error

bspline.py
    Spline — what every spline over a histogram has in common
    kernel — the quadratic B-spline
    kernel_integral — its integral
    heights — the values of the three B-splines around a point
    slopes — their derivatives
    integrals — their integrals
    combined — their sum, weighted by coefficients

pca.py
    principal_axes — the principal axes of a class
    project — coordinates of latents on the axes
    Axes — the mean, the axes and their eigenvalues
    Centre — the mean of a class that is summed in groups
    Spread — the sums of squares and the range of projections
    groups — rows in groups, by which sums are folded
    added — the sum of arrays, in their order
    sums — the sums of a group
    centre — the centre of a class, from its groups' sums
    products — the products of a group
    from_products — the axes of a class, from its groups' products
    spread — the spread of a group of projections
    merged — the spread of a class, from those of its groups

modes.py
    stable — how many modes of a histogram are more than chance, and where
    parts — a class divided by the modes along an axis
    Modes — the result of `stable`
    least_draws — the number of draws that a level needs
    chance — the p-value of a number of modes
    flattened — a histogram flattened to a number of modes
    Flattened — a histogram being flattened

generation.py
    points — points drawn from the density of a class
    latents — the latents of points
    class_generator — the random generator of a class
"""
