"""Layers: each a few lines of NumPy or one index equation."""
