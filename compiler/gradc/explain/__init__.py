"""Rendering of kept stages: text, counts."""
