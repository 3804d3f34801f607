"""Tests of pure code, without a server."""
