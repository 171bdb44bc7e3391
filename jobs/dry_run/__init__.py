"""The dry run: reports what a command would do, and why, without doing any of it."""
