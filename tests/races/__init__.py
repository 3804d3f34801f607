"""Tests of races, with barriers instead of luck."""
