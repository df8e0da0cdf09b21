"""A scan predicted strip by strip is predicted as a whole, and takes no more memory than it may."""

import itertools
import json
import re
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
from attention_unet.geometry import place
from attention_unet.inference import predict_volume as module
from attention_unet.inference.model import Model
from attention_unet.inference.predict_volume import Settings, predict_volume
from attention_unet.inference.strips import BATCH, Load, bytes_needed, choose_strips
from tests.conftest import oblique_affine
from tests.inference.build import CPU, plan_of, scan

LIMIT = 220  # MiB
EVERYTHING = Settings(torch.float32, attention=True, probabilities=True, uncertainty=True)


class Around(nn.Module):
    """Looks at what is around a voxel, as far as the window goes, so that other windows say something else."""

    def forward(self, x, return_maps=False):
        seen = F.avg_pool3d(x, 3, stride=1, padding=1)
        return torch.cat([torch.ones_like(seen), 9 * seen, -9 * seen], dim=1), {1: torch.sigmoid(seen)}


def told_of(prediction):
    return [prediction.label_map, prediction.probabilities, prediction.attention[1], *prediction.uncertainty.values()]


@pytest.mark.parametrize("spacing", [(0.9, 1.3, 2.5), (1.2, 1.7, 1.2), (0.5, 0.5, 3.0), (2.0, 3.1, 2.0)], ids=str)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)], ids=str)
def test_strips_give_what_the_whole_gives(tmp_path, monkeypatch, spacing, axes):
    affine = oblique_affine(axes=axes, signs=(-1, 1, -1))
    volume, _ = scan(tmp_path, affine, grid=(17, 23, 19))
    models = [Model(Around(), plan_of(patch, spacing=spacing), CPU) for patch in ((8, 8, 8), (4, 6, 8))]
    expected = told_of(predict_volume(models, volume, EVERYTHING))
    assert len(np.unique(expected[0])) == 3
    rows = volume.grid[axes.index(1)]
    for inner in ([], [1], [rows - 1], [5, 6, 14], range(1, rows)):
        edges = [0, *inner, rows]
        strips = [slice(a, b) for a, b in itertools.pairwise(edges)]
        monkeypatch.setattr(module, "choose_strips", lambda *_, strips=strips: (strips, 1))
        shares = []
        found = told_of(predict_volume(models, volume, EVERYTHING, shares.append))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_as_few_strips_as_memory_allows(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4), grid=(40, 60, 50))
    load = Load(place(volume.affine, volume.grid, (0.5, 0.5, 0.5)), (16, 16, 16), 2, 3, fast=False)

    def needed(rows, batch=1):
        return bytes_needed(volume, [load], 5, slice(0, rows), batch)

    assert choose_strips(volume, [load], 5, needed(60, BATCH)) == ([slice(0, 60)], BATCH)
    assert choose_strips(volume, [load], 5, needed(60, BATCH) - 1) == ([slice(0, 60)], 1)
    assert choose_strips(volume, [load], 5, needed(60) - 1) == ([slice(0, 30), slice(30, 60)], 1)
    strips, _ = choose_strips(volume, [load], 5, needed(1))
    assert [strip.stop - strip.start for strip in strips] == [1] * 60
    with pytest.raises(DataError, match=r"scan\.nii\.gz: a scan of \(40, 60, 50\) takes .* \(--memory-gb\)"):
        choose_strips(volume, [load], 5, needed(1) - 1)


def test_what_is_too_large_is_refused_before_anything_is_done(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    with pytest.raises(DataError, match=r"takes 0\.\d\d GiB to predict, and there may be 0\.01"):
        predict_volume([Model(None, plan_of(), CPU)], volume, replace(EVERYTHING, attention=False, memory=2**30 // 100))


MEASURED = """
import json, sys, torch
from pathlib import Path
from attention_unet.data.cases import Case
from attention_unet.data.labels import Labels
from attention_unet.inference import predict_volume
from attention_unet.inference.model import Model
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.predict_volume import Settings
from attention_unet.memory import peak_memory
from attention_unet.network import AttentionUNet
from attention_unet.inference.preview import draw_preview
from tests.inference.build import CPU, plan_of

memory, scan, output = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
labels = Labels({name: (i,) for i, name in enumerate("abcd", 1)}, (1, 2, 3, 4))
plan = plan_of((48, 48, 48), labels=labels)
plan.architecture.update(channels=[4, 8, 8])
model = Model(AttentionUNet(**plan.architecture).eval(), plan, CPU)
known, chosen = predict_volume.choose_strips, []
def choose(*arguments):
    chosen.append(known(*arguments))
    return chosen[-1]
predict_volume.choose_strips = choose
model.network(torch.zeros(1, 1, 16, 16, 16))
before = peak_memory(CPU)
failed = predict_files([Case("scan", (scan,))], output, [model], Settings(memory=memory), lambda share: None)
print(json.dumps([failed, [len(strips) for strips, _ in chosen], peak_memory(CPU) - before]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
@pytest.mark.parametrize(("mib", "in_strips"), [(1000, False), (LIMIT, True)])
def test_no_more_memory_is_taken_than_may_be(tmp_path, mib, in_strips):
    """Seen in a process of its own; a few MiB are of libraries that the first prediction loads."""
    scan(tmp_path, np.eye(4), "scan.nii", grid=(64, 400, 200))
    memory = mib * 2**20
    command = [sys.executable, "-c", MEASURED, str(memory), str(tmp_path / "scan.nii"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    failed, (strips,), peak = json.loads(re.findall(r"\[.*\]", done.stdout)[-1])
    assert failed == {}
    assert (strips > 1) == in_strips
    assert peak < memory
    assert in_strips or peak > LIMIT * 2**20  # so that the limit is one
