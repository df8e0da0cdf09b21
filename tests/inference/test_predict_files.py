"""Prediction of files: each result whole or not at all, on its scan to the bit."""

import errno
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from attention_unet.errors import DataError
from attention_unet.inference import predict_files as predict_module
from attention_unet.inference import predict_volume as volume_module
from attention_unet.inference.inputs import find_inputs
from attention_unet.inference.output_folder import claim_output
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.record import describe_predictions, hash_files, update_record
from attention_unet.inference.settings import Settings
from tests.conftest import save_nifti
from tests.inference.build import CPU, Threshold, files, model_of, scan, scans


def predict(cases, output, network=None, **options):
    model = model_of(network)
    return predict_files(cases, output, [model], Settings(torch.float32, **options), done=lambda share: None)


def predict_scans(folder, *names, **options):
    """Write scans of these names into ``in``, and predict them into ``out``."""
    _, cases, output = scans(folder, *names)
    return predict(cases, output, **options)


def test_a_broken_file_fails_alone_and_leaves_nothing_stale(tmp_path):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes((tmp_path / "in" / "a.nii.gz").read_bytes()[:200])
    of_b = ["b.nii.gz", "b_labels.json", "attention/b_skip1.nii.gz", "preview/b.jpg", "probabilities/b.nii.gz"]
    more = ["uncertainty/b_entropy.nii.gz", "attention/a_skip3.nii.gz", "uncertainty/a_disagreement.nii.gz"]
    for name in [*of_b, *more]:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "out" / name).write_bytes(b"of an earlier call")
    stale = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for case in "ab":
        hashes = hash_files(tmp_path / "out", [path for path in stale if path.name.startswith(case)])
        update_record(tmp_path / "out", {"cases": {case: {"files": hashes}}})
    cases, model = find_inputs(tmp_path / "in", 1), model_of()
    description = describe_predictions([model], Settings(attention=True), [], tmp_path / "out")
    cases = claim_output(tmp_path / "out", cases, description, ["attention"], resume=False, overwrite=True)
    failed = predict(cases, tmp_path / "out", attention=True)
    assert list(failed) == ["b"]
    assert "b.nii.gz: is damaged or cut short" in failed["b"]
    written = files(tmp_path / "out")
    assert written == ["a.nii.gz", "a_labels.json", "attention/a_skip1.nii.gz", "preview/a.jpg", "run.json"]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["labels"]["integers"] == {"bright": [3], "dark": [9]}
    assert facts["failed"] == {"b": failed["b"].replace(f"{tmp_path / 'in'}/", "")}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_what_is_too_large_for_a_gpu_is_done_on_the_cpu(tmp_path, monkeypatch, caplog, error):
    """There is no GPU here: what would run on one runs on the CPU, but for the first case."""
    known, seen = volume_module._predict_volume, []

    def on_a_gpu(models, volume, settings, done):
        seen.append((models[0].device.type, settings.precision))
        if models[0].device.type == "mps" and volume.path.name == "a.nii.gz":
            raise error
        found = known([model.on(CPU) for model in models], volume, settings, done)
        return replace(found, device=models[0].device)

    monkeypatch.setattr(volume_module, "_predict_volume", on_a_gpu)
    for name in ("a.nii.gz", "b.nii.gz"):
        scan(tmp_path / "in", np.eye(4), name)
    models = [replace(model_of(), device=torch.device("mps"))]
    cases = find_inputs(tmp_path / "in", 1)
    assert predict_files(cases, tmp_path / "out", models, Settings(torch.bfloat16), lambda share: None) == {}
    assert seen == [("mps", torch.bfloat16), ("cpu", None), ("mps", torch.bfloat16)]
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{tmp_path}/in/a.nii.gz: too large for the memory of mps: predicted on the CPU"]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [facts["device"], *(facts["cases"][case]["device"] for case in "ab")] == ["mps", "cpu", "mps"]


def test_a_failure_of_any_kind_stops_no_other_case(tmp_path):
    class FailsOnce(Threshold):
        calls = 0

        def forward(self, x, full_output=False):
            self.calls += 1
            if self.calls == 1:
                raise MemoryError("too large")
            return super().forward(x)

    failed = predict_scans(tmp_path, "a", "b", network=FailsOnce())
    assert list(failed) == ["a"]
    assert "MemoryError: too large" in failed["a"]
    assert (tmp_path / "out" / "b.nii.gz").is_file()


@pytest.mark.parametrize("step", ["read_channels", "note"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interruption_that_ends_in_an_error_still_stops_all(tmp_path, monkeypatch, interruption, step):
    def read(*_):
        try:
            try:
                raise interruption
            finally:
                raise OSError(errno.EBADF, "Bad file descriptor")  # of a file that was being closed
        except OSError as error:
            raise DataError("cannot be read") from error

    monkeypatch.setattr(predict_module, step, read)
    with pytest.raises(type(interruption)):
        predict_scans(tmp_path, "a")


def test_nothing_is_left_of_a_case_that_cannot_be_written(tmp_path, monkeypatch):
    def full(path, *arguments):
        if path.name == "a.nii.gz" and path.parent.name != "probabilities":
            raise DataError(f"{path}: writing failed (No space left on device)")
        return original(path, *arguments)

    original = predict_module.write_like
    monkeypatch.setattr(predict_module, "write_like", full)
    failed = predict_scans(tmp_path, "a", "b", attention=True, probabilities=True)
    assert failed["a"] == f"{tmp_path}/out/a.nii.gz: writing failed (No space left on device)"
    of_b = ["attention/b_skip1.nii.gz", "b.nii.gz", "b_labels.json", "preview/b.jpg", "probabilities/b.nii.gz"]
    assert files(tmp_path / "out") == [*of_b, "run.json"]


def test_warnings_are_told_and_noted(tmp_path, caplog):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    save_nifti(tmp_path / "in" / "b.nii.gz", np.full((9, 9, 9), 7.0, dtype=np.float32), np.eye(4))
    assert predict(find_inputs(tmp_path / "in", 1), tmp_path / "out") == {}
    text = f"{tmp_path / 'in' / 'b.nii.gz'}: is empty: all voxels have the same value; check the file"
    assert caplog.messages == [f"{text}"]
    cases = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    assert [cases[case]["warnings"] for case in "ab"] == [
        [],
        ["b.nii.gz: is empty: all voxels have the same value; check the file"],
    ]


def test_a_scan_that_vanishes_fails_alone(tmp_path, monkeypatch):
    """After it was read, so that it cannot be told any more what was predicted."""

    def vanish(path, *arguments):
        original(path, *arguments)
        (tmp_path / "in" / "a.nii.gz").unlink(missing_ok=True)

    original = predict_module.write_like
    monkeypatch.setattr(predict_module, "write_like", vanish)
    failed = predict_scans(tmp_path, "a", "b")
    assert list(failed) == ["a"]
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["b.nii.gz"]


def test_a_full_disk_ends_no_other_case(tmp_path, monkeypatch, caplog):
    """What cannot be noted of a case is noted with the next."""

    def full(path, array, volume, labels=None):
        if path.name == "a.nii.gz":
            raise DataError(f"{path}: writing failed (No space left on device)")
        return original(path, array, volume, labels)

    def note(output, entry):
        noted.append(list(entry["cases"]))
        if len(noted) == 1:
            raise DataError(f"{output}: cannot be written (No space left on device): free space")
        return original_note(output, entry)

    noted, original, original_note = [], predict_module.write_like, predict_module.note
    monkeypatch.setattr(predict_module, "write_like", full)
    monkeypatch.setattr(predict_module, "note", note)
    failed = predict_scans(tmp_path, "a", "b", "c")
    assert list(failed) == ["a"]
    assert noted == [["b"], ["b", "c"]]
    assert caplog.messages == [f"{tmp_path}/out: cannot be written (No space left on device): free space"]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (list(facts["cases"]), list(facts["failed"])) == (["b", "c"], ["a"])


@pytest.mark.parametrize("step", ["read_channels", "write_like"])
def test_a_scan_that_changes_while_it_is_predicted_fails(tmp_path, monkeypatch, step):
    def change(*arguments):
        result = original(*arguments)
        scan(tmp_path / "in", np.eye(4), "a.nii.gz", seed=1)
        return result

    original = getattr(predict_module, step)
    monkeypatch.setattr(predict_module, step, change)
    failed = predict_scans(tmp_path, "a")
    assert failed == {"a": f"{tmp_path}/in/a.nii.gz: was changed while it was predicted: predict it again"}
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_an_error_does_not_hold_what_was_being_written(tmp_path, monkeypatch):
    """Or the place of a partial file on a full disk would not be free again."""

    class Held:
        pass

    def fail(*arguments):
        held = Held()
        held_weakly.append(weakref.ref(held))
        raise DataError("no space")

    def look(output, facts):
        assert held_weakly[0]() is None
        looked.append(True)

    held_weakly, looked = [], []
    monkeypatch.setattr(predict_module, "write_prediction", fail)
    monkeypatch.setattr(predict_module, "update_record", look)
    assert predict_scans(tmp_path, "a") == {"a": "no space"}
    assert looked
