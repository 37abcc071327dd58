"""Networks as files: TOML that is read as data alone, with errors that name the line, and written from a network."""
