"""What the tests expect of each mechanism; all that is not said here is the default."""

import math
from typing import NamedTuple

ANY, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)


class Expected(NamedTuple):
    """Properties of a mechanism.

    Attributes:
        permutable: whether the result of shuffled voxels is the shuffled result: it ignores where voxels are. Keys of
            large grids that are averaged over blocks are left aside.
        mirrors: whether the result of a mirrored image is the mirrored result.
        by_axis: whether it has parameters or means for each axis, so that in 3-D it does something else with a single
            slice than in 2-D.
        starts_as_identity: whether the open start is exactly the identity.
        costly: whether it needs more than a tenth of the multiplications of a convolution of kernel 3.
        weights: least and largest possible weight.
        start: least and largest weight at the open start.
    """

    permutable: bool = False
    mirrors: bool = False
    by_axis: bool = False
    starts_as_identity: bool = False
    costly: bool = False
    weights: tuple[float, float] = (0.0, 1.0)
    start: tuple[float, float] = (0.91, 1.0)


EVERYWHERE = Expected(permutable=True, mirrors=True)  # the same at every voxel
PAIRS = Expected(starts_as_identity=True, costly=True, weights=POSITIVE)
ALL_PAIRS = PAIRS._replace(permutable=True, mirrors=True)
EXPECTED = {
    "identity": EVERYWHERE._replace(starts_as_identity=True),
    **dict.fromkeys(("se", "cbam_channel", "eca", "srm", "gsop", "encoding", "decoder_channel"), EVERYWHERE),
    "gct": EVERYWHERE._replace(starts_as_identity=True, weights=(0.0, 2.0)),
    "gaussian_ct": EVERYWHERE._replace(start=(0.2, 1.0)),
    "channel_self": EVERYWHERE._replace(starts_as_identity=True, weights=POSITIVE),
    **dict.fromkeys(("sse", "scse", "bilinear", "parallel"), EVERYWHERE),
    "lee_gate": Expected(mirrors=True),
    "hard": Expected(starts_as_identity=True),
    **dict.fromkeys(("cbam", "sequential"), Expected(start=(0.91**2, 1.0))),
    "bam": Expected(weights=(1.0, 2.0), start=(1.91, 2.0)),
    "project_excite": Expected(mirrors=True, by_axis=True),
    "coordinate": Expected(mirrors=True, by_axis=True, start=(0.84, 1.0)),
    "triplet": Expected(by_axis=True),
    "polarized": EVERYWHERE._replace(weights=(0.0, 2.0), start=(1.8, 2.0)),
    "simam": EVERYWHERE._replace(start=(0.62, 1.0)),
    "large_kernel": Expected(costly=True, weights=ANY, start=(0.8, 1.2)),
    "residual_mask": Expected(weights=(1.0, 2.0), start=(1.0, 2.0)),
    **dict.fromkeys(("self", "nonlocal", "cross", "efficient", "external", "paired"), ALL_PAIRS),
    "deformable": PAIRS,
    "window": PAIRS._replace(by_axis=True),
    "axial": PAIRS._replace(mirrors=True, by_axis=True),
    "state_space": PAIRS._replace(by_axis=True, weights=(0.0, 1.0)),
    "stn": Expected(starts_as_identity=True),
    "glimpse": Expected(start=(0.87, 1.0)),
    "dynamic_conv": Expected(costly=True),
    "residual": Expected(weights=(1.0, 2.0), start=(1.91, 2.0)),
    "recursive": Expected(start=(0.91**3, 1.0)),
}


def expected(name: str) -> Expected:
    """Return what is expected of a mechanism."""
    return EXPECTED.get(name, Expected())
