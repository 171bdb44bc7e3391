"""One script for each claim of the pages; each prints tables, which `--save` saves (results.py)."""
