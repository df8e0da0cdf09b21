"""Prediction of volumes and files with networks whose answer is known."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from attention_unet.data.cases import Case
from attention_unet.data.labels import Labels
from attention_unet.data.plan import Plan
from attention_unet.data.preprocessing import Preprocessing
from attention_unet.data.volumes import read_volume
from attention_unet.errors import ConfigError, DataError
from attention_unet.inference import predict_files as predict_module
from attention_unet.inference.model import Model
from attention_unet.inference.output_folder import claim_output, describe
from attention_unet.inference.predict_files import find_inputs, predict_files
from attention_unet.inference.predict_volume import Settings, predict_volume
from tests.conftest import oblique_affine, save_nifti

CPU = torch.device("cpu")
LABELS = Labels({"bright": (3,), "dark": (9,)}, (3, 9))


class Threshold(nn.Module):
    """Calls voxels above 1 standard deviation bright and voxels below -1 dark; its attention is 1 where they are."""

    def forward(self, x, return_maps=False):
        logits = torch.cat([torch.ones_like(x), 10 * (x - 1) + 1, 10 * (-x - 1) + 1], dim=1)
        return logits, {1: (x.abs() > 1).float()}


def plan_of(patch=(8, 8, 8), spacing=(1.0, 1.0, 1.0), dims=3, labels=LABELS, channels=("MR",), mirror_axes=()):
    architecture = {"dims": dims, "in_channels": len(channels), "out_channels": labels.channels, "channels": [4, 6, 8]}
    slice_axis = patch.index(1) if dims == 2 else None
    preprocessing, largest = Preprocessing(spacing, nonzero=False), (40.0, 40.0, 40.0)
    return Plan(channels, labels, preprocessing, largest, patch, slice_axis, mirror_axes, 2, architecture)


def predicted(network, plan, volume, **wanted):
    return predict_volume([Model(network, plan, CPU)], volume, Settings(torch.float32, **wanted))


def scan(folder, affine, name="scan.nii.gz", grid=(11, 9, 13), seed=0):
    array = np.random.RandomState(seed).normal(size=grid).astype(np.float32) * 100 + 400
    return read_volume(save_nifti(folder / name, array, affine)), (array - array.mean()) / array.std()


@pytest.mark.parametrize("patch", [(8, 8, 8), (16, 16, 16), (8, 8, 1), (1, 8, 8)])
def test_labels_lie_where_the_image_says(tmp_path, patch):
    """In every storage order, through windows, padding and slices, on the same spacing: exact to the voxel."""
    for axes, signs in [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, -1))]:
        affine = oblique_affine(axes=axes, signs=signs)
        volume, z = scan(tmp_path, affine)
        plan = plan_of(patch, spacing=(0.9, 1.3, 2.5), dims=2 if 1 in patch else 3)
        prediction = predicted(Threshold(), plan, volume, attention=True)
        expected = np.where(z > 1, 3, np.where(z < -1, 9, 0))
        clear = np.abs(np.abs(z) - 1) > 1e-3
        np.testing.assert_array_equal(prediction.label_map[clear], expected[clear])
        assert prediction.label_map.dtype == np.uint8
        np.testing.assert_allclose(prediction.attention[1][clear], (np.abs(z) > 1)[clear], atol=1e-5)


def test_other_spacings_come_back_to_the_grid(tmp_path):
    class AboveMean(nn.Module):
        def forward(self, x, return_maps=False):
            return torch.cat([torch.zeros_like(x), 50 * x, torch.zeros_like(x) - 9], dim=1), {}

    affine = oblique_affine()
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in (30, 24, 14)), indexing="ij"), axis=-1)
    ball = np.linalg.norm((voxels - np.array([15, 12, 7])) * (0.9, 1.3, 2.5), axis=-1) < 9
    volume = read_volume(save_nifti(tmp_path / "a.nii.gz", ball.astype(np.float32) * 100, affine))
    prediction = predicted(AboveMean(), plan_of(spacing=(1.2, 1.2, 1.2)), volume)
    found = prediction.label_map == 3
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.93


def test_overlapping_classes_are_painted_in_order(tmp_path):
    class Regions(nn.Module):
        def forward(self, x, return_maps=False):
            return torch.cat([x, x - 1], dim=1) * 50, {}

    volume, z = scan(tmp_path, np.eye(4))
    labels = Labels({"whole": (1, 2), "core": (2,)}, (1, 2))
    found = predicted(Regions(), plan_of(labels=labels), volume).label_map
    clear = (np.abs(z) > 1e-3) & (np.abs(z - 1) > 1e-3)
    np.testing.assert_array_equal(found[clear], (np.where(z > 1, 2, z > 0))[clear])


@pytest.mark.parametrize("axes", [(0,), (0, 2), (0, 1, 2)])
def test_mirrored_windows_are_averaged(tmp_path, axes):
    """Of a network that looks one way, what is left is what it says of both ways, and it is mirrored back."""

    class Leaning(nn.Module):
        def forward(self, x, return_maps=False):
            seen = x.roll((1, 1, 1), dims=(2, 3, 4))
            return torch.cat([torch.zeros_like(x), 3 * seen, -3 * seen], dim=1), {1: torch.sigmoid(seen)}

    volume, z = scan(tmp_path, np.eye(4), grid=(8, 8, 8))
    plan = plan_of(mirror_axes=axes)
    found = predicted(Leaning(), plan, volume, mirrored=True, attention=True, probabilities=True)
    ways = itertools.product(*((1, -1) if axis in axes else (1,) for axis in range(3)))
    seen = [np.roll(z, way, axis=(0, 1, 2)) for way in ways]
    expected = np.mean(
        [torch.softmax(torch.from_numpy(np.stack([0 * s, 3 * s, -3 * s])), dim=0).numpy() for s in seen], axis=0
    )
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(found.attention[1], np.mean([1 / (1 + np.exp(-s)) for s in seen], axis=0), atol=1e-4)


def test_several_models_are_averaged(tmp_path):
    affine = oblique_affine()
    volume, _ = scan(tmp_path, affine)
    plans = [plan_of(spacing=spacing) for spacing in ((0.9, 1.3, 2.5), (1.2, 1.2, 1.2), (2.0, 2.0, 2.0))]
    alone = [predicted(Threshold(), plan, volume, attention=True, probabilities=True) for plan in plans]
    models = [Model(Threshold(), plan, CPU) for plan in plans]
    together = predict_volume(models, volume, Settings(torch.float32, attention=True, probabilities=True))
    expected = np.mean([p.probabilities for p in alone], axis=0)
    np.testing.assert_allclose(together.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(together.attention[1], np.mean([p.attention[1] for p in alone], axis=0), rtol=1e-5)
    np.testing.assert_array_equal(together.label_map, LABELS.decode(expected.argmax(axis=0)[None]))


def test_uncertainty_is_the_entropy_and_the_part_of_it_in_which_models_differ(tmp_path):
    class Certain(nn.Module):
        def __init__(self, index):
            super().__init__()
            self.index = index

        def forward(self, x, return_maps=False):
            logits = torch.zeros(len(x), 3, *x.shape[2:])
            if self.index is not None:
                logits[:, self.index] = 50
            return logits, {}

    def uncertainty(*networks):
        models = [Model(network, plan_of(), CPU) for network in networks]
        found = predict_volume(models, volume, Settings(torch.float32, uncertainty=True)).uncertainty
        return {measure: round(float(values.mean()), 4) for measure, values in found.items() if np.ptp(values) < 1e-5}

    volume, _ = scan(tmp_path, oblique_affine())
    assert uncertainty(Certain(None)) == {"entropy": 1.0}
    assert uncertainty(Certain(1)) == {"entropy": 0.0}
    assert uncertainty(Certain(None), Certain(None)) == {"entropy": 1.0, "disagreement": 0.0}
    of_two = round(np.log(2) / np.log(3), 4)
    assert uncertainty(Certain(0), Certain(2)) == {"entropy": of_two, "disagreement": of_two}


def test_a_model_predicts_files_and_arrays_alike(tmp_path):
    affine = oblique_affine(axes=(2, 0, 1), signs=(-1, 1, 1))
    volume, _ = scan(tmp_path, affine)
    model = model_of()
    from_file = model.predict(volume.path)
    np.testing.assert_array_equal(np.asarray(from_file.dataobj), predicted(Threshold(), plan_of(), volume).label_map)
    np.testing.assert_array_equal(from_file.affine, nib.load(volume.path).affine)
    assert from_file.header.extensions[0].get_code() == 30
    from_array = model.predict(volume.array[0], affine=affine)
    np.testing.assert_array_equal(np.asarray(from_array.dataobj), np.asarray(from_file.dataobj))
    np.testing.assert_allclose(from_array.affine, affine, atol=1e-6)
    upright = model.predict(volume.array, spacing_mm=(1, 2, 3))
    np.testing.assert_array_equal(upright.affine, np.diag([1, 2, 3, 1]))
    for wrong in ({"affine": affine}, {"spacing_mm": (1, 1, 1)}):
        with pytest.raises(ValueError, match="expected spacing_mm or affine with an array"):
            model.predict(volume.path, **wrong)
    for wrong in ({}, {"affine": affine, "spacing_mm": (1, 1, 1)}):
        with pytest.raises(ValueError, match="expected spacing_mm or affine with an array"):
            model.predict(volume.array, **wrong)
    with pytest.raises(DataError, match=r"the array: has 2 axes \(9, 13\)"):
        model.predict(volume.array[0, 0], affine=affine)
    with pytest.raises(DataError, match="the array: its affine maps no volume"):
        model.predict(volume.array, affine=np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("grid", "spacing", "found"),
    [((70, 60, 70), 1.0, []), ((30, 90, 30), 1.0, ["30 x 90 x 30"]), ((30, 20, 20), 3.0, ["88 x 58 x 58"])],
)
def test_a_scan_of_much_more_than_was_trained_on_is_warned_of(tmp_path, recwarn, grid, spacing, found):
    volume, _ = scan(tmp_path, np.diag([-spacing, -spacing, spacing, 1.0]), grid=grid)
    predicted(Threshold(), plan_of((32, 32, 32)), volume)
    told = [str(warning.message) for warning in recwarn]
    assert [text.partition(" mm, ")[0] for text in told] == [f"{volume.path}: is about {size}" for size in found]
    assert all("trained on scans of up to about 40 x 40 x 40 mm" in text for text in told)


def test_other_number_of_channels_is_refused(tmp_path):
    volume, _ = scan(tmp_path, np.eye(4))
    with pytest.raises(DataError, match=r"scan.nii.gz: has 1 channels: the model was trained on 2 \(T2, ADC\)"):
        predicted(Threshold(), plan_of(channels=("T2", "ADC")), volume)


def model_of(network=None, sha256="0" * 64):
    return Model(network or Threshold(), plan_of(), CPU, sha256)


def claim(folder, cases, output=None, model=None, resume=False, overwrite=False, overlap=0.5):
    where = output or folder.parent / "out"
    model = model or model_of()
    description = describe(model.plan.labels, [model.sha256], Settings(overlap=overlap))
    return claim_output(where, folder, cases, description, resume=resume, overwrite=overwrite)


def predict(cases, output, network=None, **options):
    model = model_of(network)
    return predict_files(cases, output, [model], Settings(torch.float32, **options), done=lambda share: None)


def test_a_broken_file_fails_alone_and_leaves_nothing_stale(tmp_path):
    scan(tmp_path / "in", np.eye(4), "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes((tmp_path / "in" / "a.nii.gz").read_bytes()[:200])
    (tmp_path / "out" / "attention").mkdir(parents=True)
    for name in (
        "b.nii.gz",
        "b_labels.json",
        "attention/a_level3.nii.gz",
        "attention/b_level1.nii.gz",
        "preview/b.png",
        "probabilities/b.nii.gz",
        "uncertainty/b_entropy.nii.gz",
        "uncertainty/a_disagreement.nii.gz",
    ):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"of an earlier call")
    cases = claim(tmp_path / "in", find_inputs(tmp_path / "in", 1), overwrite=True)
    failed = predict(cases, tmp_path / "out", attention=True)
    assert list(failed) == ["b"]
    assert "b.nii.gz: is damaged or cut short" in failed["b"]
    written = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert written == ["a.nii.gz", "a_labels.json", "attention/a_level1.nii.gz", "preview/a.png", "run.json"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["labels"]["integers"] == {"bright": [3], "dark": [9]}


def test_predictions_lie_on_their_scan_to_the_bit(tmp_path):
    affine = oblique_affine(axes=(2, 1, 0), signs=(1, -1, 1))
    scan(tmp_path / "in", affine, "a.nii.gz")
    predict(find_inputs(tmp_path / "in" / "a.nii.gz", 1), tmp_path / "out")
    before, after = nib.load(tmp_path / "in" / "a.nii.gz"), nib.load(tmp_path / "out" / "a.nii.gz")
    assert before.shape == after.shape
    np.testing.assert_array_equal(before.affine, after.affine)
    for form in ("sform_code", "qform_code"):
        assert before.header[form] == after.header[form]
    assert np.issubdtype(after.get_data_dtype(), np.unsignedinteger)


def test_a_failure_of_any_kind_stops_no_other_case(tmp_path):
    class FailsOnce(Threshold):
        calls = 0

        def forward(self, x, return_maps=False):
            self.calls += 1
            if self.calls == 1:
                raise MemoryError("too large")
            return super().forward(x)

    for name in ("a", "b"):
        scan(tmp_path / "in", np.eye(4), f"{name}.nii.gz")
    failed = predict(find_inputs(tmp_path / "in", 1), tmp_path / "out", network=FailsOnce())
    assert list(failed) == ["a"]
    assert "MemoryError: too large" in failed["a"]
    assert (tmp_path / "out" / "b.nii.gz").is_file()


def test_nothing_is_left_of_a_case_that_cannot_be_written(tmp_path, monkeypatch):
    def full(path, *arguments):
        if path == tmp_path / "out" / "a.nii.gz":
            raise DataError(f"{path}: writing failed (No space left on device)")
        return original(path, *arguments)

    original = predict_module.write_like
    monkeypatch.setattr(predict_module, "write_like", full)
    for name in ("a", "b"):
        scan(tmp_path / "in", np.eye(4), f"{name}.nii.gz")
    failed = predict(find_inputs(tmp_path / "in", 1), tmp_path / "out", attention=True, probabilities=True)
    assert "No space left" in failed["a"]
    left = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert left == [
        "attention/b_level1.nii.gz",
        "b.nii.gz",
        "b_labels.json",
        "preview/b.png",
        "probabilities/b.nii.gz",
        "run.json",
    ]


def test_output_folder_is_claimed_before_any_work(tmp_path):
    for name in ("a", "b"):
        scan(tmp_path / "in", np.eye(4), f"{name}.nii.gz")
    folder, cases = tmp_path / "in", find_inputs(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match="holds the images"):
        claim(folder, cases, output=folder)
    assert claim(folder, cases) == cases
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="already holds 1 of these predictions: add --resume or --overwrite"):
        claim(folder, cases)
    assert claim(folder, cases, resume=True) == cases[1:]
    with pytest.raises(ConfigError, match="holds predictions of another model"):
        claim(folder, cases, model=model_of(sha256="1" * 64), resume=True)
    with pytest.raises(ConfigError, match="or by other options"):
        claim(folder, cases, resume=True, overlap=0.25)
    with pytest.raises(ConfigError, match=r"that would stay \(a.nii.gz, 1 in all\): .* -o, or remove them"):
        claim(folder, cases[1:], model=model_of(sha256="1" * 64))
    assert (tmp_path / "out" / "a.nii.gz").exists()
    assert claim(folder, cases[1:]) == cases[1:]
    assert claim(folder, cases, overwrite=True, overlap=0.25) == cases
    assert not (tmp_path / "out" / "a.nii.gz").exists(), "or, were this stopped now, --resume would keep it"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        claim(folder, cases, output=tmp_path / "file" / "out")


def test_inputs(tmp_path):
    with pytest.raises(ConfigError, match="is no folder and no volume"):
        find_inputs(tmp_path / "nothing", 1)
    with pytest.raises(ConfigError, match="holds no volume"):
        find_inputs(tmp_path, 1)
    for name in ("p_0000", "p_0001"):
        scan(tmp_path, np.eye(4), f"{name}.nii.gz")
    assert find_inputs(tmp_path, 2) == [Case("p", (tmp_path / "p_0000.nii.gz", tmp_path / "p_0001.nii.gz"))]
