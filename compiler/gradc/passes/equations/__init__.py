"""Passes on the index IR."""
