"""The Delta tables: their schemas, where they lie, and how they are read and written."""
