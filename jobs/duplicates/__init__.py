"""Which images are near-copies of others: leaks, conflicts, duplicates, and what is published.

leaks, conflicts, prune, publish
    the stages
groups, candidates, rules, thresholds
    what prune compares: groups of images, masks of what is decided, the rules and their T
earlier_decisions, leak_decisions
    what is decided before prune begins
selection, cover_tasks
    the decisions, and those on small groups, whole in tasks
rounds, round_tasks, group_placement
    the decisions on groups that are too large for a task
audit, audit_tasks
    the check of a selection
window_search
    all images with all others, for leaks and conflicts
exclusions
    the anomalies that publish leaves out
"""
