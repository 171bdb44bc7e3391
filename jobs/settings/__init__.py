"""The settings of a run: their defaults, their checks, and how they are read."""
