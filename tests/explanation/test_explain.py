"""The checks of a run, from the command line."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from attention_unet.cli import main
from attention_unet.dataset.cases import Case
from attention_unet.explanation import explain as explain_module
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.network import AttentionUNet
from tests.report.build import facts_of


@pytest.mark.usefixtures("few_deletions")
def test_a_run_is_checked_and_its_report_tells(cohort, run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "phantom")
    second = shutil.copytree(run, tmp_path / "second")
    call = ["explain", str(copied), "--root", str(cohort), "--cases", "2", "--second", str(second)]
    assert main(call) == 2
    assert "second: is the same model as" in capsys.readouterr().err
    model = load_model(run)
    weights = {name: value * 1.01 if "gate" in name else value for name, value in model.network.state_dict().items()}
    weights["heads.0.bias"] = weights["heads.0.bias"] + 0.01
    save_model(second, weights, model.plan, {}, model.locator)
    assert main(call) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line[:30] for line in lines if not line.startswith("Mean Dice of these cases")]
    assert starts[:2] == ["Without its attention (feature", "With the same weight everywher"]
    found = json.loads((copied / "held-out" / "explanation.json").read_text())
    assert found["sentences"] == lines
    held_out = json.loads((run / "splits.json").read_text())["validation"]
    assert sorted(case["case"] for case in found["cases"]) == sorted(held_out)
    for case in found["cases"]:
        assert {"as trained", "removed", "constant", "own map", "mean map", "another case"} <= set(case["dice"])
        assert set(case["agreement"]) == {"random weights", "two random networks", "second training", "another case"}
        assert case["deletion"]["by_attention"][0] == case["deletion"]["by_chance"][0] == case["dice"]["as trained"]
        assert len(case["grad_cam"]) == 3
    mask = nib.load(copied / "held-out" / "predictions" / f"{held_out[0]}.nii.gz")
    cam = nib.load(copied / "held-out" / "predictions" / "grad-cam" / f"{held_out[0]}_label1.nii.gz")
    np.testing.assert_array_equal(cam.affine, mask.affine)
    assert cam.shape == mask.shape
    assert main(["report", str(copied), "--root", str(cohort)]) == 0
    facts = facts_of(copied / "report.html")
    assert facts["explanation"] == found
    names = [one["name"] for one in facts["shown"][held_out[0]]["maps"]]
    assert names[0].startswith("attention, skip 1")
    assert sum(name.startswith("Grad-CAM of ") for name in names) == 3
    other = found | {"model_sha256": "another"}
    (copied / "held-out" / "explanation.json").write_text(json.dumps(other))
    capsys.readouterr()
    assert main(["report", str(copied), "--root", str(cohort)]) == 0
    assert "is of another model than the predictions" in capsys.readouterr().err
    assert facts_of(copied / "report.html")["explanation"] is None


@pytest.mark.usefixtures("few_deletions")
@pytest.mark.parametrize("step", ["predict_common_maps", "check_case"])
def test_a_case_that_is_too_large_for_a_gpu_stops_no_other(cohort, run, tmp_path, capsys, monkeypatch, step):
    copied = shutil.copytree(run, tmp_path / "phantom")
    original, seen = getattr(explain_module, step), []

    def fails_once(*arguments):
        seen.extend(each.id for each in arguments if isinstance(each, Case))
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments)

    monkeypatch.setattr(explain_module, step, fails_once)
    assert main(["explain", str(copied), "--root", str(cohort), "--cases", "2"]) == 1
    assert f"{seen[0]}: too large for the memory of cpu: explain with --device cpu" in capsys.readouterr().err
    found = json.loads((copied / "held-out" / "explanation.json").read_text())
    assert [case["case"] for case in found["cases"]] == seen[1:]


@pytest.mark.usefixtures("few_deletions")
def test_the_maps_of_a_blank_scan_replace_no_others(cohort, run, tmp_path):
    copied, scans = shutil.copytree(run, tmp_path / "phantom"), shutil.copytree(cohort, tmp_path / "scans")
    blank, other = sorted(json.loads((run / "splits.json").read_text())["validation"])
    for path in (scans / "imagesTr").glob(f"{blank}*"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), path)
    assert main(["explain", str(copied), "--root", str(scans), "--cases", "2"]) == 0
    found = json.loads((copied / "held-out" / "explanation.json").read_text())
    dice = {case["case"]: case["dice"] for case in found["cases"]}
    assert dice[other]["as trained"] > 0
    assert "another case" not in dice[other]


def test_wrong_calls_are_told(tmp_path, capsys):
    assert main(["explain", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert main(["explain", str(tmp_path), "--cases", "0"]) == 2
    assert "--cases is 0: expected 1 or more" in capsys.readouterr().err


def test_a_second_training_must_have_held_out_the_same_cases(cohort, run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    split = json.loads((other / "splits.json").read_text())
    (other / "splits.json").write_text(json.dumps({"training": split["validation"], "validation": split["training"]}))
    assert main(["explain", str(run), "--root", str(cohort), "--second", str(other)]) == 2
    assert "did not hold out" in capsys.readouterr().err


def test_a_second_training_must_have_the_same_attention(cohort, run, tmp_path, capsys):
    other, model = shutil.copytree(run, tmp_path / "other"), load_model(run)
    plan = replace(model.plan, architecture=model.plan.architecture.without_attention())
    save_model(other, AttentionUNet(plan.architecture).state_dict(), plan, {}, model.locator)
    assert main(["explain", str(run), "--root", str(cohort), "--second", str(other)]) == 2
    assert "other: has other attention than" in capsys.readouterr().err
