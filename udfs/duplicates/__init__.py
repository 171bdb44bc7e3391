"""Greedy covers, thresholds that set themselves, and the audit of covers."""
