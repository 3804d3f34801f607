"""`turnlog import`: conversations out of JSONL files, through the same append path as everyone else."""
