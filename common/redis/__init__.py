"""Redis: the log and the cache. `connect` is where a service gets all of it."""
