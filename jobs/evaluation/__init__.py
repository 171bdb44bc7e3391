"""What removal did to the distribution, how similar pairs are, and how precise a threshold is."""
