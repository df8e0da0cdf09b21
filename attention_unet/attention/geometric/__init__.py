"""Geometric attention: find a box or a position, and attend to it."""
