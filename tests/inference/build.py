"""Build a network with known output, its plan and a scan."""

import json

import numpy as np
import torch
from torch import nn

from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import save_model
from attention_unet.inference.output_folder import claim_output
from attention_unet.inference.record import describe_predictions
from attention_unet.inference.settings import Settings
from attention_unet.network import Architecture, AttentionUNet, NetworkOutput
from attention_unet.preparation.plan import Plan
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume
from tests.conftest import save_nifti

CPU = torch.device("cpu")
LABELS = Labels({"bright": (3,), "dark": (9,)}, (3, 9))


def output(full, logits, weights=None):
    """Return what a network does, with all or with its logits alone."""
    return NetworkOutput([logits], weights or {}, []) if full else logits


class Threshold(nn.Module):
    """Network that calls voxels above 1 standard deviation bright, below -1 dark; attention is 1 at both."""

    def forward(self, x, full_output=False):
        logits = torch.cat([torch.ones_like(x), 10 * (x - 1) + 1, 10 * (-x - 1) + 1], dim=1)
        return output(full_output, logits, {"skip 1": (x.abs() > 1).float()})


class Answers(nn.Module):
    """Network whose logits are a function of its input, as is its attention at skip 1 if it has any."""

    def __init__(self, logits, weights=None):
        super().__init__()
        self.logits, self.weights = logits, weights

    def forward(self, x, full_output=False):
        return output(full_output, self.logits(x), self.weights and {"skip 1": self.weights(x)})


def plan_of(patch=(8, 8, 8), spacing=(1.0, 1.0, 1.0), dims=3, labels=LABELS, channels=("MR",), mirror_axes=()):
    architecture = Architecture(dims, len(channels), labels.channels, [4, 6, 8])
    slice_axis = patch.index(1) if dims == 2 else None
    preprocessing, largest = Preprocessing(spacing, nonzero=False), (40.0, 40.0, 40.0)
    return Plan(channels, labels, preprocessing, largest, patch, slice_axis, mirror_axes, 2, architecture)


def files(folder, pattern="*"):
    """Return the paths of files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file())


def scan(folder, affine, name="scan.nii.gz", grid=(11, 9, 13), seed=0):
    array = np.random.RandomState(seed).normal(size=grid).astype(np.float32) * 100 + 400
    return read_volume(save_nifti(folder / name, array, affine)), (array - array.mean()) / array.std()


def saved_model(folder):
    """Save a small model with random weights; return its network and plan."""
    torch.manual_seed(0)
    plan = plan_of()
    network = AttentionUNet(plan.architecture).eval()
    save_model(folder, network.state_dict(), plan, {})
    return network, plan


def model_of(network=None, sha256="0" * 64):
    return Model(network or Threshold(), plan_of(), CPU, sha256=sha256)


def contents(folder):
    """Return the bytes of all files but the record, by path."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def facts(folder):
    """Return what the record says, but for the time that it took."""
    record = json.loads((folder / "run.json").read_text())
    cases = {case: {**each, "seconds": 0} for case, each in sorted(record["cases"].items())}
    return {**record, "cases": cases, "parts": 0, "finished_parts": 0, "peak_memory_bytes": 0}


def claim(folder, cases, output=None, model=None, resume=False, overwrite=False, overlap=0.5, extras=()):
    """Claim an output folder, by default beside the scans; return the cases to predict."""
    where = output or folder.parent / "out"
    model = model or model_of()
    description = describe_predictions([model], Settings(overlap=overlap), [], where)
    return claim_output(where, cases, description, extras, resume=resume, overwrite=overwrite)


def scans(tmp_path, *names):
    """Write scans. Return their folder, their cases, and the folder of their predictions."""
    for name in names:
        scan(tmp_path / "in", np.eye(4), f"{name}.nii.gz")
    return tmp_path / "in", find_inputs(tmp_path / "in", 1), tmp_path / "out"
