"""Source files and tables to the tables `images` and `rejects`: listing, decoding."""
