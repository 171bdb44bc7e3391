"""Cosine similarity, exact and bounded, of many vectors."""
