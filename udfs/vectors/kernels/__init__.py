"""Loops over pairs, compiled by Numba."""
