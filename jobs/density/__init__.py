"""The spline model of each class: axes, projections, densities, modes, anomalies, new images."""
