"""Random byte changes in every kind of file that is read: the same content, or an error that names the file.

A failure is printed with its seed; FUZZ_SEED=... repeats it.
"""

import os
import random
import shutil
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from attention_unet.cli import main
from attention_unet.dataset.splits import read_split
from attention_unet.errors import UserError
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.rows import read_metrics
from attention_unet.inference.model_file import load_model
from attention_unet.scans.volumes import read_labels, read_volume
from attention_unet.training.checkpoint import load_state
from tests.reliability.build import label_of
from tests.reliability.figures import tell

SEED = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))
SIZES = [25, pytest.param(300, marks=pytest.mark.long)]


def mutated(content, chance):
    """Flip, set, delete, double or cut off bytes, mostly in headers."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        if not changed:
            break
        place = chance.randrange(min(len(changed), chance.choice([16, 400, len(changed)])))
        kind = chance.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place] = chance.choice([0, 255, 127, 128, 10, 34])
        elif kind == 2:
            del changed[place : place + chance.choice([1, 4, 100])]
        elif kind == 3:
            changed[place:place] = changed[place : place + chance.choice([1, 4, 100])]
        elif kind == 4:
            del changed[place:]
        else:
            changed[place : place + 4] = chance.randbytes(4)
    return bytes(changed)


@pytest.fixture(scope="module")
def evaluation(good_dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation")
    labels = str(good_dataset / "labelsTr")
    assert main(["evaluate", "-p", labels, "-r", labels, "-o", str(output)]) == 0
    return output


def prediction_of(model_file):
    loaded = load_model(model_file)
    return loaded.plan, loaded.sha256


def voxels(path):
    volume = read_volume(path)
    return volume.array, volume.affine


def as_itk(path):
    image = sitk.GetImageFromArray(label_of("a").astype(np.int16).T)
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(path), useCompression=True)


CHECKED = {  # reader; "packed": it must notice every change of content
    "a.nii.gz": (voxels, "packed"),
    "a.nii": (voxels, "open"),
    "a.nrrd": (voxels, "packed header open"),
    "a.mha": (voxels, "packed header open"),
    "labels.nii": (lambda path: read_labels(path).array, "open"),
    "last.pt": (lambda path: load_state(path).learner.step, "packed"),
    "model.safetensors": (prediction_of, "packed"),
    "splits.json": (read_split, "open"),
    "metrics.csv": (read_metrics, "open"),
    "scored.json": (lambda path: read_evaluated_files(path.parent), "open"),
}


def make(name, folder, good_dataset, model, evaluation):
    path = folder / name
    if name in ("a.nii.gz", "a.nii", "labels.nii"):
        nib.save(nib.load(good_dataset / "labelsTr" / "a.nii.gz"), path)
    elif name in ("a.nrrd", "a.mha"):
        as_itk(path)
    elif (model / name).exists():
        shutil.copy(model / name, path)
    else:
        shutil.copy(evaluation / name, path)
    return path


@pytest.mark.parametrize("times", SIZES)
@pytest.mark.parametrize("name", CHECKED)
def test_changed_bytes(good_dataset, model, evaluation, tmp_path, name, times):
    read, kind = CHECKED[name]
    path = make(name, tmp_path, good_dataset, model, evaluation)
    content, chance = path.read_bytes(), random.Random(f"{SEED} {name}")
    print(f"FUZZ_SEED={SEED}")
    warnings.simplefilter("ignore")
    expected, refused = read(path), 0
    for _ in range(times):
        path.write_bytes(mutated(content, chance))
        try:
            found = read(path)
        except UserError as error:
            told = str(error)
            assert str(tmp_path) in told, told
            refused += 1
            continue
        if kind == "packed":
            np.testing.assert_equal(found, expected)
    tell(f"changed bytes of {name}", f"{times}: {refused} refused, {times - refused} read (FUZZ_SEED={SEED})")
    assert refused > 0


@pytest.mark.parametrize("times", [7, pytest.param(200, marks=pytest.mark.long)])
def test_a_whole_run_with_changed_bytes(good_dataset, model, tmp_path, capsys, times):
    """Read a damaged run by three commands: none prints a traceback."""
    print(f"FUZZ_SEED={SEED}")
    chance = random.Random(SEED)
    names = [name for name in os.listdir(model) if (model / name).is_file() and not name.endswith((".png", ".log"))]
    for number in range(times):
        run = shutil.copytree(model, tmp_path / f"run{number}", ignore=shutil.ignore_patterns("tensorboard"))
        name = names[number % len(names)]
        (run / name).write_bytes(mutated((model / name).read_bytes(), chance))
        out, scans = str(tmp_path / f"out{number}"), str(good_dataset / "imagesTr")
        for call in (
            ["predict", "-i", scans, "-o", out, "-m", str(run)],
            ["train", "--resume", "--run", str(run), f"--data.root={good_dataset}"],
            ["report", str(run), "--root", str(good_dataset), "--cases", "0"],
        ):
            assert main(call) in (0, 1, 2), (name, call)
        text = capsys.readouterr().err
        assert "Traceback" not in text
        shutil.rmtree(run)
    tell("damaged runs", f"{times}, each by three commands (FUZZ_SEED={SEED})")
