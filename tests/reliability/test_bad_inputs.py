"""Every broken volume in every command: errors name file, reason, next step; nothing is half-written."""

import json
import re
import shutil

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.inference.record import hash_files, update_record
from tests.inference.build import files
from tests.reliability.build import CASES, SMALL, image_of, label_of
from tests.reliability.faults import BROKEN, BROKEN_IMAGES, BROKEN_LABELS, UNKNOWN_LABELS

IMAGES = {**BROKEN, **BROKEN_IMAGES}
ALL_LABELS = {**BROKEN, **BROKEN_LABELS}


def told(capsys, file, expected):
    text = capsys.readouterr().err
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if file in line and re.search(expected, line)]
    assert lines, f"expected {file}: {expected!r} in:\n{text}"


def refused_by_inspect_and_train(dataset, tmp_path, capsys, file, expected):
    assert main(["inspect", str(dataset), "--no-trial", "--json"]) == 1
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["problems"]) == ["b"]
    assert any(file in line and re.search(expected, line) for line in captured.err.splitlines())
    assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]) == 1
    told(capsys, file, expected)
    assert not list(tmp_path.rglob(".attention_unet-partial*"))
    assert not list(tmp_path.rglob("last.pt"))
    assert not list(tmp_path.rglob("model.*"))


def test_each_of_many_images(dataset, model, tmp_path, capsys):
    """All faults in one dataset: minutes less than each alone, which the next test tries."""
    expected = {}
    for number, (write, reason) in enumerate(IMAGES.values()):
        expected[f"b{number}"] = reason
        write(dataset / "imagesTr" / f"b{number}_0000.nii.gz", image_of("b"))
        shutil.copy(dataset / "labelsTr" / "b.nii.gz", dataset / "labelsTr" / f"b{number}.nii.gz")
    output = tmp_path / "out"
    assert main(["predict", "-i", str(dataset / "imagesTr"), "-o", str(output), "-m", str(model)]) == 1
    texts = [capsys.readouterr().err]
    assert sorted(path.name for path in output.glob("*.nii.gz")) == [f"{case}.nii.gz" for case in CASES]
    assert set(json.loads((output / "run.json").read_text())["failed"]) == set(expected)
    assert main(["inspect", str(dataset), "--no-trial", "--json"]) == 1
    captured = capsys.readouterr()
    assert set(json.loads(captured.out)["problems"]) == set(expected)
    assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]) == 1
    texts += [captured.err, capsys.readouterr().err]
    for text in texts:
        assert "Traceback" not in text
        for case, reason in expected.items():
            assert any(f"{case}_0000.nii.gz" in line and re.search(reason, line) for line in text.splitlines()), case
    assert not [*tmp_path.rglob(".attention_unet-partial*"), *tmp_path.rglob("last.pt"), *tmp_path.rglob("model.*")]


@pytest.mark.long
@pytest.mark.parametrize("fault", IMAGES)
def test_an_image(dataset, model, tmp_path, capsys, fault):
    write, expected = IMAGES[fault]
    write(dataset / "imagesTr" / "b_0000.nii.gz", image_of("b"))
    stale = tmp_path / "out" / "b.nii.gz"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier call")
    update_record(stale.parent, {"cases": {"b": {"files": hash_files(stale.parent, [stale])}}})
    call = ["predict", "-i", str(dataset / "imagesTr"), "-o", str(stale.parent), "-m", str(model), "--overwrite"]
    assert main(call) == 1
    told(capsys, "b_0000.nii.gz", expected)
    masks = [name for name in files(stale.parent) if name.endswith(".nii.gz")]
    assert masks == ["a.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert list(json.loads((stale.parent / "run.json").read_text())["failed"]) == ["b"]
    refused_by_inspect_and_train(dataset, tmp_path, capsys, "b_0000.nii.gz", expected)


@pytest.mark.parametrize("fault", [*BROKEN_LABELS, *(pytest.param(name, marks=pytest.mark.long) for name in BROKEN)])
def test_a_label_map(dataset, tmp_path, capsys, fault):
    write, expected = ALL_LABELS[fault]
    references, broken = dataset / "labelsTr", tmp_path / "broken"
    shutil.copytree(references, broken)
    write(broken / "b.nii.gz", label_of("b"))
    for predictions, truths in ((broken, references), (references, broken)):
        output = tmp_path / f"of {predictions.name}"
        assert main(["evaluate", "-p", str(predictions), "-r", str(truths), "-o", str(output)]) == 1
        told(capsys, "b.nii.gz", expected)
        summary = json.loads((output / "summary.json").read_text())
        assert (summary["n_cases"], list(summary["failed"])) == (3, ["b"])
        assert "b," not in (output / "metrics.csv").read_text()
    shutil.copy(broken / "b.nii.gz", references / "b.nii.gz")
    refused_by_inspect_and_train(dataset, tmp_path, capsys, "b.nii.gz", expected)


@pytest.mark.parametrize("fault", UNKNOWN_LABELS)
def test_labels_that_no_class_has(dataset, tmp_path, capsys, fault):
    write, expected = UNKNOWN_LABELS[fault]
    write(dataset / "labelsTr" / "b.nii.gz", label_of("b"))
    refused_by_inspect_and_train(dataset, tmp_path, capsys, "b.nii.gz", expected)


def test_all_faults_of_a_dataset_are_told_at_once(dataset, tmp_path, capsys):
    (dataset / "imagesTr" / "a_0000.nii.gz").write_bytes(b"")
    (dataset / "labelsTr" / "b.nii.gz").unlink()
    (dataset / "imagesTr" / "c_0000.nii.gz").unlink()
    UNKNOWN_LABELS["41 unknown labels"][0](dataset / "labelsTr" / "d.nii.gz", label_of("d"))
    assert main(["inspect", str(dataset), "--no-trial"]) == 1
    text = capsys.readouterr().err
    assert all(re.search(rf"failed: {case}: \S*{case}(_0000)?\.nii\.gz: ", text) for case in CASES)


def test_what_is_the_same_under_two_names_is_not_trained_and_held_out(dataset, tmp_path, capsys):
    for case in "bcd":
        shutil.copy(dataset / "imagesTr" / "a_0000.nii.gz", dataset / "imagesTr" / f"{case}_0000.nii.gz")
    assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]) == 1
    assert re.search(
        r"error: \w: is held out, and the same image is trained on as \w: .*remove", capsys.readouterr().err
    )


def test_a_class_that_no_case_has(dataset, tmp_path, capsys):
    described = json.loads((dataset / "dataset.json").read_text())
    described["labels"]["lesion"] = 2
    (dataset / "dataset.json").write_text(json.dumps(described))
    assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]) == 1
    assert "the class lesion is in no case: take it out of dataset.json" in capsys.readouterr().err


def test_what_is_odd_but_can_be_trained_on_is_told(dataset, tmp_path, capsys):
    from tests.reliability.faults import packed, saved

    (dataset / "labelsTr" / "a.nii.gz").write_bytes(packed(saved(np.zeros_like(label_of("a")))))
    (dataset / "imagesTr" / "b_0000.nii.gz").write_bytes(packed(saved(np.full_like(image_of("b"), 7))))
    for _ in range(2):  # the second time from the cache
        assert main(["train", f"--data.root={dataset}", f"--run={tmp_path / 'run'}", *SMALL]) == 0
        text = capsys.readouterr().err
        assert "warning: a: no class is in its label map" in text
        assert "warning: b: channel 0 has the same value everywhere" in text
        shutil.rmtree(tmp_path / "run")
