"""Pairwise attention: every voxel gathers features from others; nothing is multiplied."""
