"""Program -> Program and Kernel -> Kernel: pure functions that take and return valid IR."""
