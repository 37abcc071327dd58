"""What only a compiler can add to a gradient check: an exact oracle, known kinks, and the name of the wrong gate."""
