"""Hostile files: none of their code runs, nothing is written outside, and no command ends in a traceback."""

import gzip
import json
import os
import pickle
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from attention_unet.cli import main
from attention_unet.scans import header as header_module
from tests.conftest import save_nifti
from tests.inference.build import files
from tests.reliability.build import AFFINE, SMALL, image_of, label_of
from tests.reliability.figures import tell


class Canary:
    """Object whose unpickling makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


def pickles(canary, folder):
    """Return the canary as plain pickle, torch file and NumPy file."""
    torch.save({"x": Canary(canary)}, folder / "torch.pt")
    np.save(folder / "numpy.npy", np.array([Canary(canary)], dtype=object), allow_pickle=True)
    return [pickle.dumps(Canary(canary)), (folder / "torch.pt").read_bytes(), (folder / "numpy.npy").read_bytes()]


YAML_CODE = '!!python/object/apply:os.mkdir ["{}"]\n'


@pytest.fixture
def everything(dataset, model, tmp_path):
    """Return a folder of dataset, run, predictions, evaluation."""
    run = shutil.copytree(model, tmp_path / "run")
    out, evaluation = tmp_path / "out", tmp_path / "evaluation"
    assert main(["predict", "-i", str(dataset / "imagesTr"), "-o", str(out), "-m", str(run), "--probabilities"]) == 0
    labels = str(dataset / "labelsTr")
    assert main(["evaluate", "-p", str(out), "-r", labels, "-o", str(evaluation)]) == 0
    return tmp_path


def calls(folder):
    data, run, out, evaluation = (str(folder / name) for name in ("data", "run", "out", "evaluation"))
    again = str(folder / "again")
    return [
        ["inspect", data, "--no-trial"],
        ["train", f"--data.root={data}", f"--run={folder / 'new'}", f"--data.cache={folder / 'cache'}", *SMALL],
        ["train", "--resume", "--run", run, f"--data.root={data}"],
        ["train", "--config", str(folder / "run" / "config.yaml"), f"--data.root={data}", "--run", again],
        ["predict", "-i", f"{data}/imagesTr", "-o", out, "-m", run, "--overwrite"],
        ["predict", "-i", f"{data}/imagesTr", "-o", again, "-m", f"{run}/last.pt"],
        ["evaluate", "-p", out, "-r", f"{data}/labelsTr", "-o", evaluation],
        ["compare", evaluation, f"{data}/../evaluation2", "-o", again],
        ["report", evaluation, "-o", str(folder / "report.html")],
        ["report", run, "--root", data, "-o", str(folder / "report.html")],
        ["explain", run, "--root", data],
        ["cross-validate", f"--data.root={data}", f"--run={folder / 'folds'}", "--only=0", *SMALL],
    ]


GRAVE = ["run/last.pt", "run/model.safetensors"]


@pytest.mark.parametrize("wanted", [GRAVE, pytest.param("everywhere", marks=pytest.mark.long)], ids=["grave", "all"])
def test_no_pickle_and_no_yaml_is_ever_run_wherever_it_is_put(everything, tmp_path, capsys, wanted):
    canary = tmp_path / "the canary"
    harms = [*pickles(canary, tmp_path), YAML_CODE.format(canary).encode(), b"a: " + YAML_CODE.format(canary).encode()]
    shutil.copytree(everything / "evaluation", everything / "evaluation2")
    kept = tmp_path / "kept"
    for name in ("data", "run", "out", "evaluation"):
        shutil.copytree(everything / name, kept / name)
    passed_over = re.compile(r"tensorboard|\.png$|[cd](_0000|_labels)?\.(nii|json)|\.log$")
    places = [name for name in files(kept) if not passed_over.search(name)]
    assert set(GRAVE) <= set(places)
    places = places if wanted == "everywhere" else wanted
    for number, place in enumerate(places):
        (everything / place).write_bytes(harms[number % len(harms)] if "nii" not in place else harms[number % 3])
        for call in calls(everything):
            code = main(call)
            assert code in (0, 1, 2), (place, call)
            assert not canary.exists(), (place, call)
        for name in ("data", "run", "out", "evaluation"):
            shutil.rmtree(everything / name)
            shutil.copytree(kept / name, everything / name)
        for name in ("new", "again", "folds"):
            shutil.rmtree(everything / name, ignore_errors=True)
    assert "Traceback" not in capsys.readouterr().err
    tell("pickles and YAML with code", f"put in {len(places)} places, {len(calls(everything))} commands each, none run")


def test_a_prepared_case_that_is_a_pickle(dataset, tmp_path):
    canary = tmp_path / "the canary"
    call = ["train", f"--data.root={dataset}", f"--data.cache={tmp_path / 'cache'}", *SMALL]
    assert main([*call, f"--run={tmp_path / 'first'}"]) == 0
    for harm in pickles(canary, tmp_path):
        for file in (tmp_path / "cache").rglob("*.safetensors"):
            (tmp_path / "harm").write_bytes(harm)
            (tmp_path / "harm").replace(file)  # not in place: this process has the file memory-mapped
        assert main([*call, f"--run={tmp_path / 'second'}"]) == 0  # preprocessed again
        assert not canary.exists()
        shutil.rmtree(tmp_path / "second")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, model, monkeypatch, capsys):
    monkeypatch.setattr(header_module, "free_memory", lambda: 2**24)
    image = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), AFFINE)
    image.header.set_data_shape((1000, 1000, 400))
    image.header["vox_offset"] = 352
    scans = tmp_path / "scans"
    scans.mkdir()
    with gzip.open(scans / "bomb.nii.gz", "wb", 1) as packed:
        packed.write(image.header.binaryblock + b"\0" * 4)
        for _ in range(400):
            packed.write(b"\0" * 1_000_000)
    assert (scans / "bomb.nii.gz").stat().st_size < 3e6
    assert main(["predict", "-i", str(scans), "-o", str(tmp_path / "out"), "-m", str(model), "--memory-gb=0.01"]) == 1
    assert re.search(r"bomb\.nii\.gz: .*GiB: the limit is", capsys.readouterr().err)


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/hostname", "imagesTr/../../secret.nii.gz", "a\0b.nii.gz"])
def test_paths_that_leave_the_dataset(dataset, tmp_path, capsys, path):
    save_nifti(tmp_path / "secret.nii.gz", image_of("a"), AFFINE)
    described = json.loads((dataset / "dataset.json").read_text())
    described["training"] = [{"image": path, "label": "labelsTr/a.nii.gz"}]
    (dataset / "dataset.json").write_text(json.dumps(described))
    assert main(["inspect", str(dataset), "--no-trial"]) == 1
    assert "is outside the dataset" in capsys.readouterr().err


def test_links_to_other_disks_are_followed_those_in_circles_are_refused(dataset, tmp_path, capsys):
    save_nifti(tmp_path / "disk" / "a.nii.gz", image_of("a"), AFFINE)
    for name, target in (("a", tmp_path / "disk" / "a.nii.gz"), ("b", dataset / "imagesTr" / "b.nii.gz")):
        (dataset / "imagesTr" / f"{name}.nii.gz").symlink_to(target)
    described = json.loads((dataset / "dataset.json").read_text())
    for name, code in (("a", 0), ("b", 1)):
        listed = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"}]
        (dataset / "dataset.json").write_text(json.dumps({**described, "training": listed}))
        assert main(["inspect", str(dataset), "--no-trial", "--data.fold", "-1"]) == code
    assert "which does not exist" in capsys.readouterr().err


EVIL = ["=cmd|' C calc'!A0", "<script>alert(1)<", "a';alert(1)'", "@SUM(1)", "-2+3", "{{7*7}}", "%s%n", "$(touch x)"]


def test_names_that_are_formulas_or_html_stay_names(tmp_path, model, capsys):
    for name in EVIL:
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", image_of("a"), AFFINE)
        save_nifti(tmp_path / "labels" / f"{name}.nii.gz", label_of("a"), AFFINE)
    out, evaluation = str(tmp_path / "out"), tmp_path / "evaluation"
    assert main(["predict", "-i", str(tmp_path / "scans"), "-o", out, "-m", str(model)]) == 0
    assert main(["evaluate", "-p", out, "-r", str(tmp_path / "labels"), "-o", str(evaluation)]) == 0
    assert main(["report", str(evaluation)]) == 0
    for line in (evaluation / "metrics.csv").read_text().splitlines():
        assert not line.startswith(('"=', "=", "@", "+", "-2"))
    page = (evaluation / "report.html").read_text()
    assert not [name for name in EVIL if "<script>" in name and name in page]
    assert main(["compare", str(evaluation), str(evaluation) + "/.", "-o", str(tmp_path / "c")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
