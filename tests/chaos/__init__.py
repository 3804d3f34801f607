"""The promises under faults: a workload, the history of what it saw, and a checker that reads all of it."""
