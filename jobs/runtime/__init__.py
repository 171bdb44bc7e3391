"""What every stage runs in: the run and its record, the lock, the Spark session, the console."""
