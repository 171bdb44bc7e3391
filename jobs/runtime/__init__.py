"""What every stage runs in: the run, its record, its lock, Spark's session, the console."""
