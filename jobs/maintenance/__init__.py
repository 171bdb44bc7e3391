"""Keeping a warehouse small: merging its files, and deleting what nothing needs any more."""
