"""Random removals, regression lines, strata of pairs, precision."""
