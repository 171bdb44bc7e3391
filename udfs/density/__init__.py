"""Histograms, B-spline densities, principal components, modes, generation."""
