"""Front ends: what a user writes becomes a Program."""
