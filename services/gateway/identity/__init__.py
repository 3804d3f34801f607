"""Who the user of a request is."""
