"""Files: episodes, labels, pair tables, run folders, checkpoints."""
