"""Models in Python: files, arrays and images are predicted alike, and what is no scan is refused."""

import multiprocessing

import nibabel as nib
import numpy as np
import pytest
import torch

from attention_unet.errors import ConfigError, DataError
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.inference.predict_volume import choose_overlap, predict_volume
from attention_unet.inference.record import describe_predictions
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from tests.conftest import oblique_affine
from tests.inference.build import CPU, model_of, plan_of, saved_model, scan


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
