"""Which channels matter: one weight a channel, (B, C, 1, ...)."""
