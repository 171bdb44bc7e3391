"""What a command would do, and why, without doing any of it."""
