"""Tests against the real embedded servers."""
