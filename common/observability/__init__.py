"""Logging and metrics: set up here, attached at the edges."""
