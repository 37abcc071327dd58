"""What a generated kernel needs at run time: NumPy, Numba and SciPy, never gradc or SymPy."""
