"""Where to look, as a place: a box that is found, looked into and put back."""
