"""The places of a network that can have attention, by name."""

MAX_LEVELS = 16  # the largest network.max_levels

# In the order of reports: on the image, on the skips from the finest, at the bottleneck, in the blocks.
PLACES = [
    "inputs",
    *(f"skip {level}" for level in range(MAX_LEVELS)),
    "bottleneck",
    *(f"encoder {level}" for level in range(MAX_LEVELS)),
    *(f"decoder {level}" for level in range(MAX_LEVELS)),
]


def level_of(place: str, levels: int) -> int:
    """Return the level of a place in a network with this number of levels; 0 is the finest."""
    if place == "inputs":
        return 0
    return levels - 1 if place == "bottleneck" else int(place.split()[1])
