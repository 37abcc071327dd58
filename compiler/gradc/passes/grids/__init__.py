"""Kernel -> Kernel whose loops are launches of grids of threads on a device."""
