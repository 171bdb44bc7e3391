"""A synthetic aerial survey, to try everything on."""
