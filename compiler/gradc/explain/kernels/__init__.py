"""Views of a compiled kernel: what it keeps, why its loops are as they are, what they cost, and their machine code."""
