"""A network with each mechanism learns on phantoms, and its attention maps are written on the grid of the scan."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
import torch

from attention_unet.attention import NAMES
from attention_unet.config import AttentionConfig, AugmentationConfig, Config, DataConfig, NetworkConfig, TrainingConfig
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.files.prediction_folder import attention_path
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.model import Model
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from attention_unet.machine.devices import make_fabric, this_machine
from attention_unet.network import AttentionUNet
from attention_unet.preparation.cache import CaseCache
from attention_unet.preparation.fingerprint import take_fingerprint
from attention_unet.preparation.loading import load_patches
from attention_unet.preparation.patch_sampler import PatchSampler
from attention_unet.preparation.patches import PatchDataset, patch_numbers
from attention_unet.preparation.planning import make_plan
from attention_unet.training.learner import Learner

TRAINING = TrainingConfig(steps=6, batch=2, average=0.0, precision="float32")
CONTROLS = [{"displaced": "gate"}, {"displaced": "nonlocal"}, {"template": "gate"}, {"template": "se"}]
FIELDS = {
    "skips": [*sorted(NAMES), *CONTROLS],
    "encoder": ["se", "gct", "cbam"],
    "bottleneck": ["encoding", "nonlocal"],
}


@pytest.fixture(scope="module")
def plan_and_batch(cohort, tmp_path_factory):
    """Return a plan for the phantoms, and a batch of two patches."""
    data = DataConfig(root=str(cohort), folds=4, patch=[24, 24, 16], spacing_mm=[3.0, 3.0, 4.0], foreground_share=1.0)
    config = Config(data=data, network=NetworkConfig(base_channels=8, max_levels=3), training=TRAINING)
    dataset = find_dataset(DataConfig(root=str(cohort)))
    plan = make_plan(config, dataset, take_fingerprint(dataset.cases, dataset.labels), this_machine(TRAINING))
    cache = CaseCache(tmp_path_factory.mktemp("cache"), plan.preprocessing, plan.labels, len(plan.channels))
    cache.add(dataset.cases[:2], lambda: None)
    never = AugmentationConfig(**{f.name: 0.0 for f in dataclasses.fields(AugmentationConfig) if f.type is float})
    patches = PatchDataset(PatchSampler(cache.open(dataset.cases[:2]), plan.patch, 1.0, seed=0), plan, never)
    batches = load_patches(patches, patch_numbers(0, 2, 0, 1), 0, torch.device("cpu"))
    return plan, next(batches)


@pytest.fixture(scope="module")
def scan(cohort, tmp_path_factory):
    """Return the middle of a phantom, small enough for one window."""
    whole = nib.load(find_inputs(cohort / "imagesTs", 1)[0].images[0])
    sizes = [
        min(int(mm / size), n) for mm, size, n in zip((66, 66, 56), whole.header.get_zooms(), whole.shape, strict=True)
    ]
    middle = tuple(slice((n - size) // 2, (n + size) // 2) for n, size in zip(whole.shape, sizes, strict=True))
    folder = tmp_path_factory.mktemp("scans")
    nib.save(whole.slicer[middle], folder / "middle.nii.gz")
    return find_inputs(folder, 1)[0]


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, names in FIELDS.items() for name in names])
def test_learns_and_its_maps_lie_on_the_scan(field, name, plan_and_batch, scan, tmp_path):
    plan, batch = plan_and_batch
    attention = dataclasses.asdict(AttentionConfig(**{"skips": "identity", "levels": [0, 1], field: name}))
    plan = dataclasses.replace(plan, architecture=dataclasses.replace(plan.architecture, **attention))
    torch.manual_seed(0)
    network = AttentionUNet(plan.architecture)
    learner = Learner(network, TRAINING, make_fabric(TRAINING), plan.labels.overlapping)
    losses = [learner.learn(batch, 8e-3).read_loss() for _ in range(TRAINING.steps)]
    assert losses[-1] < 0.85 * losses[0]

    model = Model(learner.averaged, plan, torch.device("cpu"))
    settings = Settings(torch.float32, overlap=0.0, attention=True)
    failed = predict_files([scan], tmp_path, [model], settings, lambda share: None)
    assert not failed
    image = nib.load(scan.images[0])
    places = {"skips": ["skip 0", "skip 1"], "encoder": ["encoder 0", "encoder 1"], "bottleneck": ["bottleneck"]}[field]
    for place in places if name not in ("identity", "gct") or (name == "gct" and field != "encoder") else []:
        written = nib.load(attention_path(tmp_path, scan.id, place))
        assert written.shape == image.shape
        np.testing.assert_array_equal(written.affine, image.affine)
        assert np.isfinite(written.get_fdata()).all()
        assert written.get_fdata().max() > 0
