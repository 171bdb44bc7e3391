"""Which images are near-copies of others: leaks, conflicts, duplicates, and what is published.

leaks, conflicts, prune, publish, export
    the stages
groups, candidates, rules, thresholds
    what prune compares: groups of images, masks of what is decided, the rules and their T
earlier_decisions, leak_decisions
    what is decided before prune begins
selection, cover_tasks
    the decisions, and those on small groups, whole in tasks
rounds, round_tasks, window_covers, group_placement
    the decisions on groups that are too large for a task
proving, proof_tasks, pictures, alignments
    the rules that ask for a proof: pictures on their way to the tasks, and pairs to be used again
audit, audit_tasks, proof_audit
    the check of a selection
window_search
    all images with all others, for leaks and conflicts
exclusions
    the anomalies that publish leaves out
changes, named_tables
    what a publication changed, and the names of its tables in a catalog
export
    the stage that writes the published images for training loaders
export_images, original_files
    the images that are exported, and their files, read once more
export_shards, export_shard_tasks, export_links, export_link_tasks, export_folder
    tar shards, folders of links, and the folder that each replaces as a whole
"""
