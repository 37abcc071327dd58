"""Kernel -> text for a target."""
