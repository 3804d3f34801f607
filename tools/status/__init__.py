"""`turnlog status`: how an instance is doing."""
