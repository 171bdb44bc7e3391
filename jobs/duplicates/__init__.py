"""Which images are near-copies of which, leaks, conflicts, and the published selection."""
