"""The public interface: `differentiate` and the objects it makes."""
