"""Every voxel gathers from others: features are mixed, not multiplied."""
