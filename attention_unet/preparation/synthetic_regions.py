"""Find the regions of a case. In synthetic images, each region has its own contrast."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq

from attention_unet.scans.labels import IGNORED, Labels

CLUSTERS = 6  # of the voxels without a class
CLUSTERED = 20_000  # voxels from which clusters are computed


def find_regions(
    image: NDArray[np.float32],
    target: NDArray[np.uint8],
    background: NDArray[np.float32],
    labels: Labels,
    synthetic: bool = False,
) -> NDArray[np.uint8]:
    """Return the region of each voxel of a preprocessed case: image (C, *S), target (T, *S), background (C,).

    If the image itself is ``synthetic``, the regions are only the classes.

    Returns:
        (1, *S): 0 where the image is background, 1 to K in the classes, the last of overlapping ones, and above K in
        clusters of the other voxels. If voxels of a real image are ignored, all are in clusters.
    """
    classes = len(labels.names)
    regions = target[0].copy()
    if labels.overlapping:
        regions = np.max([(target[k] == 1) * np.uint8(k + 1) for k in range(classes)], axis=0)
    if (target == IGNORED).any():  # in a real image, an organ would end where its annotation does
        regions[(regions == IGNORED) | (not synthetic)] = 0
    air = (image == background.reshape(-1, 1, 1, 1)).all(axis=0)
    other = (regions == 0) & ~air
    values = image[:, other].T
    if len(values):
        some = values[np.linspace(0, len(values) - 1, CLUSTERED).astype(int)].astype(np.float64)
        clusters = min(1 if synthetic else CLUSTERS, len(np.unique(some, axis=0)), 255 - classes)
        centres = kmeans2(some, clusters, minit="++", seed=0)[0]
        regions[other] = classes + 1 + vq(values, centres)[0]
    return regions[None]
