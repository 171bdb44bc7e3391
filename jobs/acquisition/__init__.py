"""Everything up to the tables `images` and `rejects`: listing, reading and decoding the source."""
