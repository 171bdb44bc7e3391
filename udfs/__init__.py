"""The mathematics: arrays in, arrays out; no Spark, files or settings."""
