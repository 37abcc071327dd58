"""The graph of a program: gates, wires, and on each wire a value and a gradient."""
