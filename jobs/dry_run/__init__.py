"""What a command would do, without doing any of it."""
