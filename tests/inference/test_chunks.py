"""A scan that is predicted in chunks gives the results of the whole, and takes no more memory than allowed."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attention_unet.errors import DataError
from attention_unet.inference import predict_volume as module
from attention_unet.inference.chunks import WORKSPACE, choose_chunks
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import batch_of, predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from attention_unet.scans import geometry
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume
from tests.conftest import oblique_affine, save_nifti
from tests.inference.build import CPU, output, plan_of, scan

LIMIT = 270 * 2**20
EVERYTHING = Settings(torch.float32, attention=True, probabilities=True, uncertainty=True)


class Around(nn.Module):
    """Looks at what is around a voxel, as far as the window goes, so that other windows say something else."""

    def forward(self, x, full_output=False):
        seen = F.avg_pool3d(x, 3, stride=1, padding=1)
        logits = torch.cat([torch.ones_like(seen), 9 * seen, -9 * seen], dim=1)
        return output(full_output, logits, {"skip 1": torch.sigmoid(seen)})


def check_same(found, expected):
    """To the rounding of float32: what is vectorised of a row depends on where it starts."""
    for measure in ("attention", "uncertainty"):
        for key, values in getattr(expected, measure).items():
            np.testing.assert_allclose(getattr(found, measure)[key], values, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.expected_dice, expected.expected_dice, atol=1e-3)
    highest = np.sort(expected.probabilities, axis=0)
    sure = highest[-1] - highest[-2] if len(highest) == 3 else np.abs(highest - 0.5).min(axis=0)
    clear = sure > 1e-5
    np.testing.assert_array_equal(found.label_map[clear], expected.label_map[clear])


def dark_around(folder, affine, grid=(17, 23, 19)):
    """Noise in two corners within wide dark margins: the grid is cut to a box, windows of background are skipped."""
    array, noise = np.full(grid, -9, dtype=np.float32), np.random.RandomState(3).normal(size=(2, 4, 5, 4))
    array[2:6, 3:8, 3:7], array[-6:-2, -10:-5, -7:-3] = noise
    return read_volume(save_nifti(folder / "dark.nii", array, affine))


def in_chunks(monkeypatch, strips):
    monkeypatch.setattr(module, "choose_chunks", lambda *_: strips)


def cut(rows, inner):
    return [slice(a, b) for a, b in itertools.pairwise([0, *inner, rows])]


@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.parametrize("spacing", [(0.9, 1.3, 2.5), (1.2, 1.7, 1.2), (0.5, 0.5, 3.0), (2.0, 3.1, 2.0)], ids=str)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)], ids=str)
def test_strips_give_what_the_whole_gives(tmp_path, monkeypatch, spacing, axes, margins):
    affine = oblique_affine(axes=axes, signs=(-1, 1, -1))
    volume = dark_around(tmp_path, affine) if margins else scan(tmp_path, affine, grid=(17, 23, 19))[0]
    plans = [plan_of((8, 8, 8), spacing=spacing), plan_of((4, 6, 30), spacing=(1.1, 1.3, 2.0))]
    models = [Model(Around(), plan, CPU) for plan in plans]
    expected = predict_volume(models, volume, EVERYTHING)
    assert len(np.unique(expected.label_map)) == 3
    rows = volume.grid[axes.index(1)]
    for inner in ([], [1], [rows - 1], [5, 6, 14], range(1, rows)):
        in_chunks(monkeypatch, cut(rows, inner))
        shares = []
        check_same(predict_volume(models, volume, EVERYTHING, shares.append), expected)
        assert shares == sorted(shares)
        assert shares[-1] == 1


@pytest.mark.parametrize("patch", [(8, 8, 1), (8, 1, 8), (1, 8, 8), (8, 8, 8)])
def test_strips_of_slices_of_mirrored_windows_and_of_overlapping_classes(tmp_path, monkeypatch, patch):
    class Regions(nn.Module):
        def forward(self, x, full_output=False):
            pool = F.avg_pool2d if x.ndim == 4 else F.avg_pool3d
            seen = pool(x.roll(1, dims=2), 3, stride=1, padding=1).sum(dim=1, keepdim=True)
            return output(full_output, torch.cat([9 * seen + 3, 9 * seen - 3], dim=1), {"skip 0": torch.sigmoid(seen)})

    labels = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    volume = dark_around(tmp_path, oblique_affine(axes=(1, 0, 2)))
    volume = replace(volume, array=np.concatenate([volume.array, np.sqrt(volume.array + 9)]))
    dims = 2 if 1 in patch else 3
    plan = plan_of(patch, (0.9, 1.1, 2.5), dims, labels, ("T1", "T2"), mirror_axes=(0,) if patch[0] > 1 else (1,))
    settings = replace(EVERYTHING, tta=True)

    expected = predict_volume([Model(Regions(), plan, CPU)], volume, settings)
    assert len(np.unique(expected.label_map)) == 3
    in_chunks(monkeypatch, cut(volume.grid[0], [2, 7, 8]))
    check_same(predict_volume([Model(Regions(), plan, CPU)], volume, settings), expected)


def test_strips_of_a_real_network_differ_by_rounding_at_most(tmp_path, monkeypatch):
    """A window is predicted beside other ones, and the kernels may be others for other numbers of windows."""
    torch.manual_seed(0)
    plan = plan_of((16, 16, 16), spacing=(1.2, 1.1, 1.4))
    network = AttentionUNet(plan.architecture).eval()
    volume, _ = scan(tmp_path, oblique_affine(), grid=(24, 40, 15))
    models = [Model(network, plan, CPU)]
    expected = predict_volume(models, volume, replace(EVERYTHING, attention=False))
    in_chunks(monkeypatch, cut(40, [9, 30]))
    found = predict_volume(models, volume, replace(EVERYTHING, attention=False))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert np.ptp(expected.probabilities[0]) > 0.1


@pytest.mark.parametrize("at_once", [1, 700, 3000])
def test_models_of_other_grids_and_levels_are_put_back_plane_by_plane_together(tmp_path, monkeypatch, at_once):
    class Quiet(Around):
        def forward(self, x, full_output=False):
            return output(full_output, super().forward(x))

    volume, _ = scan(tmp_path, oblique_affine(), grid=(17, 23, 19))
    plans = [plan_of(spacing=spacing) for spacing in ((0.9, 1.3, 2.5), (0.5, 0.6, 1.1), (3.0, 2.0, 2.0))]
    models = [Model(network, plan, CPU) for network, plan in zip((Around(), Quiet(), Around()), plans, strict=True)]
    settings = replace(EVERYTHING, attention=False)
    expected = predict_volume(models, volume, settings)
    monkeypatch.setattr(geometry, "AT_ONCE", at_once)
    check_same(predict_volume(models, volume, settings), expected)
    assert predict_volume(models, volume, EVERYTHING).attention == {}


def test_as_few_chunks_as_memory_allows(tmp_path):
    """Scan, image, label map and probabilities are held; sums of windows may take half of the remaining memory."""
    volume, _ = scan(tmp_path, np.eye(4), grid=(40, 60, 50))
    voxels = 40 * 60 * 50
    model, settings = Model(None, plan_of((16, 16, 16)), CPU), Settings(probabilities=True)
    channels = model.plan.labels.channels
    fixed = volume.array.nbytes + 4 * voxels + voxels * (1 + 4 * channels) + WORKSPACE
    sums = 4 * (channels + 1) * 16 * 60 * 50

    def chunks(memory):
        return choose_chunks(volume, [model], [[]], replace(settings, memory=memory))

    assert chunks(fixed + 2 * sums) == [slice(0, 60)]
    assert chunks(fixed + 2 * sums - 1) == [slice(0, 30), slice(30, 60)]
    assert [part.stop - part.start for part in chunks(fixed + sums // 30)] == [1] * 60
    for memory in (fixed + sums // 30 - 1, fixed, 1):
        with pytest.raises(DataError, match=r"scan\.nii\.gz: .*\(40, 60, 50\) takes .* \(predict --memory-gb\)"):
            chunks(memory)
    with_maps = choose_chunks(volume, [model], [[1, 2]], replace(settings, memory=fixed + 8 * voxels + 3 * sums))
    assert with_maps == [slice(0, 60)]
    assert len(choose_chunks(volume, [model] * 2, [[]] * 2, replace(settings, memory=fixed + 2 * sums))) == 2


def test_windows_at_once_follow_from_their_size_the_precision_and_the_device_alone():
    plan = plan_of((64, 64, 32))
    assert batch_of(plan, torch.bfloat16, CPU) == 1
    assert batch_of(plan, torch.float32, CPU) == 2
    assert batch_of(plan_of((64, 128, 1)), torch.bfloat16, CPU) == 16
    assert batch_of(plan, torch.bfloat16, torch.device("cuda")) == 32
    assert batch_of(plan_of((160, 160, 160)), torch.bfloat16, torch.device("cuda")) == 2


def test_what_is_too_large_is_refused_before_anything_is_done(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    settings = Settings(torch.float32, memory=1)
    with pytest.raises(DataError, match=r"takes 0\.\d\d GiB even row by row; the limit is 0\.00"):
        predict_volume([Model(None, plan_of(), CPU)], volume, settings)


MEASURED = """
import json, sys, torch
from dataclasses import replace
from pathlib import Path
from attention_unet.dataset.cases import Case
from attention_unet.scans.labels import Labels
from attention_unet.inference import predict_volume
from attention_unet.inference.model import Model
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.settings import Settings
from attention_unet.machine.memory import peak_memory, reuse_freed_memory
from attention_unet.network import AttentionUNet
from tests.inference.build import CPU, plan_of

memory, scan, output = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
reuse_freed_memory()
labels = Labels({name: (i,) for i, name in enumerate("abcd", 1)}, (1, 2, 3, 4))
plan = plan_of((48, 48, 48), labels=labels)
plan = replace(plan, architecture=replace(plan.architecture, channels=[4, 8, 8]))
model = Model(AttentionUNet(plan.architecture).eval(), plan, CPU)
known, chosen = predict_volume.choose_chunks, []
def choose(*arguments):
    chosen.append(known(*arguments))
    return chosen[-1]
predict_volume.choose_chunks = choose
model.network(torch.zeros(1, 1, 16, 16, 16))
before = peak_memory(CPU)
cases = [Case("first", (scan,)), Case("second", (scan,))]
settings = Settings(memory=memory, probabilities=True)
failed = predict_files(cases, output, [model], settings, lambda share: None)
print(json.dumps([failed, [len(strips) for strips in chosen], peak_memory(CPU) - before]))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_no_more_memory_is_taken_than_may_be(tmp_path):
    """Seen in processes of their own, of which the second may take less than the first has taken."""
    scan(tmp_path, np.eye(4), "scan.nii", grid=(48, 360, 160))

    def peak_and_strips(memory):
        command = [sys.executable, "-c", MEASURED, str(memory), f"{tmp_path}/scan.nii", f"{tmp_path}/out{memory}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        failed, strips, peak = json.loads(done.stdout)
        assert failed == {}
        return peak, strips

    free, whole = peak_and_strips(2**30)
    limited, strips = peak_and_strips(LIMIT)
    assert whole == [1, 1]
    assert min(strips) > 1
    assert limited < LIMIT
    assert limited < 0.9 * free  # peaks vary by some per cent
