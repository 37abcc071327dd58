"""Programs and their derivatives as mathematics: LaTeX, plain text, and derivations with numbers."""
