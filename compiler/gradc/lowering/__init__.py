"""(Program, Schedule) -> Kernels: the one door out of SymPy."""
