"""The jobs: one file a verb, each a list of steps from tables to tables."""
