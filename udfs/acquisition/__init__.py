"""Pixels from image files."""
