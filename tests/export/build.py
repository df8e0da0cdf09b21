"""Models to export, and scans for them."""

import nibabel as nib
import numpy as np
import torch

from attention_unet.inference.model import Model
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels

OVERLAPPING = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))


def made(skips="gate", dims=3, labels=None, channels=1):
    """Return an untrained model, with random weights of attention."""
    torch.manual_seed(0)
    labels = labels or Labels({"a": (1,), "b": (4,)}, (1, 4))
    architecture = Architecture(dims, channels, labels.channels, (8, 8, 16), skips=skips)
    network = AttentionUNet(architecture).eval()
    for attention in network.attentions().values():
        for parameter in attention.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    patch, axis = ((16, 12, 8), None) if dims == 3 else ((16, 1, 12), 1)
    names, way = tuple(f"c{n}" for n in range(channels)), Preprocessing((1.0, 1.0, 2.0), False)
    plan = Plan(names, labels, way, (40.0,) * 3, patch, axis, (), 2, architecture)
    return Model(network, plan, torch.device("cpu"))


def with_a_gap(scan, voxel=(1, 1, 1)):
    """Return a scan with a voxel that is not a number."""
    values = np.array(scan.dataobj, dtype=np.float32)
    values[voxel] = np.nan
    return nib.Nifti1Image(values, scan.affine)


def around_zero(scan):
    """Return a scan whose own voxels have a mean of 0, with 0 around it."""
    values = scan.get_fdata(dtype=np.float32)
    return nib.Nifti1Image(np.pad((values - values.mean()) / values.std() + 1e-6, 6).astype(np.float32), scan.affine)
