"""The loop IR: loop nests close to the target; no SymPy."""
