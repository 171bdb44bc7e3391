"""The jobs, one folder for each step of the flow: lists of steps from tables to tables."""
