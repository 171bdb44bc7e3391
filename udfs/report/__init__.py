"""Figures of the report.

charts.py
    kurtosis_regression — the classes' kurtosis before and after removal
    marginals — densities before and after removal
    similarities — histograms of similarities
    svg — a figure as SVG
    png — a figure as PNG
    contact_sheet — rows of pictures with labels, as PNG
    heat_map — a matrix of levels as PNG
    picture_png — a picture as PNG

overlay.py
    placement — the matrix that lays a registered picture over the other one
"""
