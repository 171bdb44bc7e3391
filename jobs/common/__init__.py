"""What every job needs and no job is."""
