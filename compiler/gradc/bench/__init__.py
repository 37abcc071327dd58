"""Benchmarks: the same computation written for gradc and for its peers, checked, then timed in turns."""
