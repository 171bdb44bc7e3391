"""Measures what removal did to the distributions, how alike pairs are, and how precise T is."""
