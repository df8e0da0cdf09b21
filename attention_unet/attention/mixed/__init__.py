"""One weight a channel and voxel, (B, C, *S)."""
