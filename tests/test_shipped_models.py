"""Models of the package: small, described by their cards, and able."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open

from attention_unet.cli import main
from attention_unet.evaluation.metrics import dice
from attention_unet.inference.model_file import SHIPPED, load_model

NAMES = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
CPU = torch.device("cpu")


def test_there_is_a_model_and_each_has_a_card():
    assert sorted(file.name for file in SHIPPED.iterdir()) == ["hippocampus.md", "hippocampus.safetensors"]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_its_card_names_it(name):
    file, card = SHIPPED / f"{name}.safetensors", (SHIPPED / f"{name}.md").read_text(encoding="utf-8")
    assert file.stat().st_size <= 8_000_000
    model = load_model(name, CPU)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    assert model.sha256 in card
    assert model.trained_on is not None
    assert set(model.component_gains) == set(model.plan.labels.names)
    for label, integers in model.plan.labels.integers.items():
        assert f"{integers[0]} {label}" in card
    with safe_open(file, framework="np") as content:
        trained = json.loads(content.metadata()["description"])["trained"]
    assert f"--training.steps {trained['step']}\n" in card
    for words in (f"-m {name}", "Not a medical", "CC BY-SA 4.0", "arXiv:1902.09063", "## Limits", "95% interval"):
        assert words in card


def test_hippocampus_still_knows_its_cases(real_data, tmp_path):
    """No judgement, for it learned from them: what reads and prepares images has not changed under its weights."""
    task = real_data / "Task04_Hippocampus"
    cases = sorted(file.name for file in (task / "labelsTr").glob("[!.]*.nii.gz"))[:3]
    (tmp_path / "images").mkdir()
    for case in cases:
        (tmp_path / "images" / case).write_bytes((task / "imagesTr" / case).read_bytes())
    assert main(["predict", "-i", f"{tmp_path}/images", "-o", f"{tmp_path}/masks", "-m", "hippocampus"]) == 0
    call = ["evaluate", "-p", f"{tmp_path}/masks", "-r", str(task / "labelsTr"), "-o", f"{tmp_path}/out"]
    assert main([*call, "--predicted-only"]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["trained_on"] == [case[:-7] for case in cases]
    for case in cases:
        mask, truth = (np.asarray(nib.load(f / case).dataobj) for f in (tmp_path / "masks", task / "labelsTr"))
        for label in (1, 2):
            assert dice(mask == label, truth == label) > 0.88, case
