"""Channel attention: one weight per channel, (B, C, 1, ...)."""
