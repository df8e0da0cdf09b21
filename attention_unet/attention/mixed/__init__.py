"""Mixed attention: one weight per channel and voxel, (B, C, *S)."""
