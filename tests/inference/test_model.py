"""Model files: read back as written, found by name, refused where damaged."""

import dataclasses
import json
import multiprocessing
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as save_tensors

from attention_unet.errors import ConfigError, DataError, ModelError
from attention_unet.inference import model_file as model_module
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import digest, find_model, load_model, load_models, save_model
from attention_unet.inference.predict_volume import choose_overlap, predict_volume
from attention_unet.inference.record import describe_predictions
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from tests.conftest import oblique_affine
from tests.inference.build import CPU, model_of, plan_of, scan


def saved_model(folder):
    torch.manual_seed(0)
    plan = plan_of()
    network = AttentionUNet(plan.architecture).eval()
    save_model(folder, network.state_dict(), plan, {})
    return network, plan


def test_model_round_trip(tmp_path):
    network, plan = saved_model(tmp_path)
    model = load_model(tmp_path, CPU)
    x = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(model.network(x), network(x))
    assert model.plan == plan


def test_a_model_is_one_file_and_its_description_is_for_people(tmp_path):
    saved_model(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert set(description) == {"format", "plan", "sha256", "versions"}
    (tmp_path / "model.json").unlink()
    assert load_model(tmp_path / "model.safetensors", CPU).sha256 == description["sha256"]


def test_a_shipped_model_is_found_by_its_name_unless_one_lies_there(tmp_path, monkeypatch):
    saved_model(tmp_path / "run")
    monkeypatch.setattr(model_module, "SHIPPED", tmp_path / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "models" / "knee.safetensors")
    monkeypatch.chdir(tmp_path)
    assert [model.plan for model in load_models(["knee"], CPU)] == [plan_of()]
    with pytest.raises(ModelError, match=r"hip: holds no model: .* one of the package's models: knee"):
        load_model("hip", CPU)
    (tmp_path / "knee").mkdir()
    assert find_model("knee") == tmp_path / "models" / "knee.safetensors"
    saved_model(tmp_path / "knee")
    assert find_model("knee") == Path("knee/model.safetensors")


def test_damaged_models_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="holds no model"):
        load_model(tmp_path, CPU)
    network, plan = saved_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    good = weights.read_bytes()
    for content, message in (
        (good[:-1] + bytes([good[-1] ^ 1]), "sha256 differs"),
        (good[: len(good) // 2], "not a model that a training wrote, or damaged"),
        (b"", "not a model that a training wrote, or damaged"),
        (good.replace(b'\\"format\\": 4', b'\\"format\\": 9'), "is of format 9: this version reads 4"),
        (good.replace(b'\\"nonzero\\": false', b'\\"nonzero\\": true '), "is damaged, or was changed"),
    ):
        weights.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path, CPU)
    lost = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    next(iter(lost.values())).view(-1)[0] = float("nan")
    save_model(tmp_path, lost, plan, {})
    with pytest.raises(ModelError, match="some of its weights are NaN or infinite: train it again"):
        load_model(tmp_path, CPU)
    other = dataclasses.replace(plan, architecture=dataclasses.replace(plan.architecture, channels=[4, 6, 10]))
    save_model(tmp_path, network.state_dict(), other, {})
    with pytest.raises(ModelError, match="here: install the package that adds its attention, as in the training"):
        load_model(tmp_path, CPU)
    monkeypatch.setattr(model_module, "versions", lambda: {"torch": "2.13.0", "mine-attention": "1.0"})
    save_model(tmp_path, network.state_dict(), other, {})
    with pytest.raises(ModelError, match=r"other weights than its network has here: install mine-attention 1\.0"):
        load_model(tmp_path, CPU)


def test_a_model_predicts_files_and_arrays_alike(tmp_path):
    affine = oblique_affine(axes=(2, 0, 1), signs=(-1, 1, 1))
    volume, _ = scan(tmp_path, affine)
    model = model_of()
    from_file = model.predict(volume.path).label_map
    np.testing.assert_array_equal(np.asarray(from_file.dataobj), predict_volume([model], volume, Settings()).label_map)
    np.testing.assert_array_equal(from_file.affine, nib.load(volume.path).affine)
    assert from_file.header.extensions[0].get_code() == 30
    from_array = model.predict(volume.array[0], affine=affine).label_map
    np.testing.assert_array_equal(np.asarray(from_array.dataobj), np.asarray(from_file.dataobj))
    np.testing.assert_allclose(from_array.affine, affine, atol=1e-6)
    copied = model.on(CPU)
    assert copied.network is not model.network
    assert copied.sha256 == model.sha256
    image = nib.load(volume.path)
    from_image = model.predict(image).label_map
    np.testing.assert_array_equal(np.asarray(from_image.dataobj), np.asarray(from_file.dataobj))
    assert all(from_image.header[field] == image.header[field] for field in ("sform_code", "qform_code", "xyzt_units"))
    with pytest.raises(TypeError, match="scan is of type list: expected a path, a nib"):
        model.predict([1, 2, 3])
    for wrong in ((1, 1), (1, -1, 1)):
        with pytest.raises(ValueError, match="expected three numbers above 0"):
            model.predict(volume.array, spacing_mm=wrong)
    upright = model.predict(volume.array, spacing_mm=(1, 2, 3)).label_map
    np.testing.assert_array_equal(upright.affine, np.diag([1, 2, 3, 1]))
    for wrong in ({"affine": affine}, {"spacing_mm": (1, 1, 1)}):
        with pytest.raises(ValueError, match="expected spacing_mm or affine with an array"):
            model.predict(volume.path, **wrong)
    for wrong in ({}, {"affine": affine, "spacing_mm": (1, 1, 1)}):
        with pytest.raises(ValueError, match="expected spacing_mm or affine with an array"):
            model.predict(volume.array, **wrong)
    with pytest.raises(DataError, match=r"the array: has 2 axes \(9, 13\)"):
        model.predict(volume.array[0, 0], affine=affine)
    for wrong in (np.zeros((4, 4)), np.eye(3), np.diag([1, 1, 0, 1]), np.diag([1.0, 1, 1, 2])):
        with pytest.raises(DataError, match="the array: its affine is invalid"):
            model.predict(volume.array, affine=wrong)
    with pytest.raises(DataError, match=r"the array: its voxels are 1 x 1 x 1000 mm: expected 0\.001 to 100 mm"):
        model.predict(volume.array, spacing_mm=np.array([1, 1, 1000]))
    for odd in (volume.array + 1j, volume.array.astype(str), np.zeros((3, 3, 3), dtype=[("r", "u1")])):
        with pytest.raises(DataError, match=r"the array: voxels .*: expected real numbers"):
            model.predict(odd, affine=affine)
    with pytest.raises(DataError, match=r"the array: has 3 axes \(3, 0, 3\)"):
        model.predict(np.zeros((3, 0, 3)), affine=affine)


def test_maps_are_images_on_the_grid_of_the_scan(tmp_path):
    affine = oblique_affine(axes=(2, 0, 1), signs=(-1, 1, 1))
    volume, _ = scan(tmp_path, affine)
    model, settings = model_of(), Settings(attention=True, probabilities=True, uncertainty=True)
    found, expected = model.predict(volume.path, settings), predict_volume([model], volume, settings)
    images = [*found.attention.values(), found.probabilities, *found.uncertainty.values()]
    arrays = [*expected.attention.values(), np.moveaxis(expected.probabilities, 0, -1), *expected.uncertainty.values()]
    assert len(images) == len(arrays) == 3
    for image, array in zip(images, arrays, strict=True):
        np.testing.assert_array_equal(np.asarray(image.dataobj), array)
        np.testing.assert_array_equal(image.affine, nib.load(volume.path).affine)
    assert model.predict(volume.path).probabilities is None


def test_an_image_is_taken_as_its_file_would_be(tmp_path):
    volume, _ = scan(tmp_path, oblique_affine())
    model, image = model_of(), nib.load(volume.path)
    image.header.set_sform(image.affine, code=1)
    image.header.set_qform(oblique_affine(degrees=30), code=1)
    with pytest.warns(UserWarning, match="its sform and qform disagree: the sform is used"):
        model.predict(image)
    with pytest.raises(DataError, match="is NIfTI-2: expected NIfTI-1"):
        model.predict(nib.Nifti2Image(volume.array[0], np.eye(4)))
    with pytest.raises(DataError, match="voxels are complex64: expected real numbers"):
        model.predict(nib.Nifti1Image(volume.array[0].astype(np.complex64), np.eye(4)))
    whole = volume.path.read_bytes()
    volume.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"scan\.nii\.gz: is damaged or cut short"):
        model.predict(nib.load(volume.path))


def test_no_byte_of_a_model_changes_unnoticed(tmp_path):
    saved_model(tmp_path)
    path = tmp_path / "model.safetensors"
    good, same = path.read_bytes(), load_model(tmp_path)
    for place in range(0, len(good), max(len(good) // 400, 1)):
        flipped = bytearray(good)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            model = load_model(tmp_path)
        except ModelError:
            continue
        assert (model.plan, model.sha256) == (same.plan, same.sha256)  # a space between two words is nothing of it


def test_a_device_by_name(tmp_path):
    saved_model(tmp_path)
    assert load_model(tmp_path, "cpu").device == CPU
    with pytest.raises(ConfigError, match="the device tpu is not available"):
        load_model(tmp_path, "tpu")


def test_what_a_hostile_description_says_takes_no_memory_and_raises_nothing_else(tmp_path):
    saved_model(tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, framework="pt") as content:
        described = json.loads(content.metadata()["description"])
        tensors = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118  # not mapped
    wide = {
        **described["plan"]["architecture"],
        "channels": [60_000] * len(described["plan"]["architecture"]["channels"]),
    }
    for changes in (
        {"plan": {**described["plan"], "architecture": wide}},
        {"plan": {**described["plan"], "batch": float("inf")}},
        {"plan": {**described["plan"], "patch": [float("inf"), 1, 1]}},
        {"plan": {**described["plan"], "architecture": 5}},
        {"plan": 5},
        {"component_gains": 5},
        {"component_gains": {"a": [1]}},
        {"trained_on": 5},
    ):
        changed = {**described, **changes}
        changed["sha256"] = digest(tensors, changed)
        file.write_bytes(save_tensors(tensors, metadata={"description": json.dumps(changed)}))
        with pytest.raises(ModelError, match=r"holds other weights|not a model that a training wrote"):
            load_model(tmp_path)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.ma.masked_array(np.ones((8, 8, 8))), TypeError, "scan is a masked array: expected all voxels"),
        (
            nib.MGHImage(np.ones((8, 8, 8), np.float32), np.eye(4)),
            TypeError,
            "of type MGHImage: expected a path",
        ),
        (nib.Nifti1Image(np.ones((8, 8, 8), np.float32), None), DataError, "has no affine: expected a 4 x 4"),
        ("notes.txt", ConfigError, r"notes\.txt: does not exist"),
    ],
)
def test_scans_of_other_kinds_are_refused_in_words(given, error, message):
    options = {"spacing_mm": (1, 1, 1)} if isinstance(given, np.ndarray) else {}
    with pytest.raises(error, match=message):
        model_of().predict(given, **options)


def test_files_per_channel_are_one_scan_and_several_scans_are_refused(tmp_path):
    for name in ("a_0000", "a_0001"):
        scan(tmp_path, np.eye(4), f"{name}.nii.gz", seed=int(name[-1]))
    plan = plan_of(channels=("T1", "T2"))
    model = Model(AttentionUNet(plan.architecture).eval(), plan, CPU)
    channels = [nib.load(tmp_path / f"a_000{i}.nii.gz").get_fdata(dtype=np.float32) for i in (0, 1)]
    expected = model.predict(np.stack(channels), affine=np.eye(4))
    found = model.predict(tmp_path / "a_0000.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.label_map.dataobj), np.asarray(expected.label_map.dataobj))
    with pytest.raises(ConfigError, match="holds 2 scans: name one of them, or use predict_folder"):
        model_of().predict(tmp_path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(ModelError, match="holds no model"):
        load_model(name)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_process_predicts_as_its_parent_did(tmp_path):
    """The threads of the parent, for which it would wait for ever, are not in the fork."""
    saved_model(tmp_path)
    model, array = load_model(tmp_path), np.random.RandomState(0).normal(size=(30, 30, 30))

    def predict():
        return np.asarray(model.predict(array, spacing_mm=(1, 1, 1)).label_map.dataobj)

    expected, context = predict(), multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(predict()))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), expected)
    child.join()


def test_the_overlap_of_the_training_is_used_and_recorded(tmp_path):
    """Of several models, the largest; `predict --resume` knows it as the same prediction."""
    plan = plan_of()
    models = []
    for name, overlap in (("a", 0.25), ("b", 0.5), ("old", None)):
        (tmp_path / name).mkdir()
        network = AttentionUNet(plan.architecture)
        save_model(tmp_path / name, network.state_dict(), plan, {} if overlap is None else {"overlap": overlap})
        models.append(load_model(tmp_path / name))
    assert [model.overlap for model in models] == [0.25, 0.5, 0.5]
    assert choose_overlap(models[:1], Settings()) == 0.25
    assert choose_overlap(models[:2], Settings()) == 0.5
    assert choose_overlap(models[:2], Settings(overlap=0.1)) == 0.1
    for settings in (Settings(), Settings(overlap=0.25)):
        assert describe_predictions(models[:1], settings, [], tmp_path)["overlap"] == 0.25


def test_a_model_is_moved_without_a_copy_on_its_device(monkeypatch):
    network = AttentionUNet(plan_of().architecture)
    for kind in (torch.Tensor, torch.nn.Parameter):
        monkeypatch.setattr(kind, "__deepcopy__", lambda *_: pytest.fail("copied where memory ran out"))
    moved = model_of(network).on(torch.device("meta")).network
    assert all(weight.device.type == "meta" for weight in moved.state_dict().values())
    assert all(weight.device == CPU for weight in network.state_dict().values())
    assert moved.state_dict().keys() == network.state_dict().keys()
