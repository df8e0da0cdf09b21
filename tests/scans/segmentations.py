"""A series, its mask, and the segments that highdicom reads."""

import numpy as np

from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume
from tests.scans.build import AFFINE, STORED
from tests.scans.dicom_files import HEADER, save, slice_of

LABELS = Labels({"Anterior": (1,), "Posterior": (4,)}, (1, 4))


def mask(labels=LABELS):
    """Return a random label map."""
    return np.random.RandomState(1).choice([0, *labels.painted], size=STORED.shape, p=[0.6, 0.2, 0.2]).astype(np.uint8)


def series(folder, affine=AFFINE, shuffled=False, **fields):
    """Write a series with complete headers, and return it as it is read."""
    folder.mkdir()
    names = np.random.RandomState(0).permutation(STORED.shape[2]) if shuffled else range(STORED.shape[2])
    for k, name in enumerate(names):
        save(folder / f"{name:03d}.dcm", slice_of(STORED, affine, k, **{**HEADER, "InstanceNumber": k + 1, **fields}))
    return read_volume(folder)


def read_back(path, volume):
    """Return the label map (I, J, K) of each segment on the grid of the scan, as highdicom sees it."""
    import highdicom as hd

    segmentation = hd.seg.segread(path)
    stacked = segmentation.get_volume(skip_overlap_checks=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    onto = hd.VolumeGeometry(lps[:, [2, 1, 0, 3]], volume.grid[::-1], "PATIENT", segmentation.FrameOfReferenceUID)
    return np.moveaxis(stacked.match_geometry(onto).array, -1, 0).transpose(0, 3, 2, 1)
