"""`turnlog up`: everything on one machine, as processes that are watched, restarted and stopped in order."""
