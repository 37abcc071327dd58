"""The ``gradc`` command, one file for each group of verbs; `main` parses, prints and exits."""
