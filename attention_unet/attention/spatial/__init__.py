"""Spatial attention: one weight per voxel, (B, 1, *S)."""
