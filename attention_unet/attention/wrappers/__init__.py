"""Wrappers: mechanisms made of other mechanisms."""
