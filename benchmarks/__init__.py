"""One script for each claim of the README; each prints a table."""
