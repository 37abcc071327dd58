"""gradc: a differentiation compiler."""
