"""Program -> Schedule: which equations share a loop nest, in which order, stored where; plain data."""
