"""Where to look: one weight a voxel, (B, 1, *S)."""
