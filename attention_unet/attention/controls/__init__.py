"""Controls to train beside a mechanism, to see what of its gain is attention."""
