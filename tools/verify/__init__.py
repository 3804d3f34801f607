"""`turnlog verify`: finds and mends what is different in Redis and in PostgreSQL."""
