"""All checks of a case, beside the same worked out step by step."""

import nibabel as nib
import numpy as np
import pytest

from attention_unet.data.cases import Case
from attention_unet.data.volumes import as_volume, read_volume
from attention_unet.evaluation.focus import focus_of
from attention_unet.evaluation.metrics import dice
from attention_unet.explanation.alteration import altered
from attention_unet.explanation.checks import OVERLAP, _voxels_of, check_case, steps_a_case
from attention_unet.explanation.deletion import SHARES, at_random, order_by, without
from attention_unet.explanation.grad_cam import grad_cam
from attention_unet.explanation.randomisation import randomised, similarity
from attention_unet.inference.model import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from tests.conftest import oblique_affine

SEED = 3


@pytest.fixture(scope="module")
def checked(cohort, run, tmp_path_factory):
    output = tmp_path_factory.mktemp("checks")
    path = sorted((cohort / "imagesTs").iterdir())[0]
    case = Case("x", (path,), cohort / "labelsTs" / path.name)
    model, steps = load_model(run), []
    strangers = {"all": randomised(model, "all")}
    found = check_case(model, strangers, case, output, SEED, lambda: steps.append(1))
    assert len(steps) == steps_a_case(model) - 2  # of two stages that were not asked for
    return found, model, strangers["all"], read_volume(path), np.asarray(nib.load(case.label).dataobj), output


def predicted(model, volume, attention=False):
    return predict_volume([model], volume, Settings(overlap=OVERLAP, attention=attention))


def dice_of(model, volume, reference):
    label_map = predicted(model, volume).label_map
    return np.nanmean([dice(np.isin(label_map, g), np.isin(reference, g)) for g in model.plan.labels.integers.values()])


def test_dice_as_trained_and_altered(checked):
    found, model, _, volume, reference, _ = checked
    assert found.dice["as trained"] == pytest.approx(dice_of(model, volume, reference))
    for how in ("removed", "constant", "shuffled"):
        with altered(model.network, how, SEED):
            assert found.dice[how] == pytest.approx(dice_of(model, volume, reference))
    assert len(set(found.dice.values())) == 4


def test_maps_beside_those_of_random_weights(checked):
    found, model, stranger, volume, _, _ = checked
    maps = [predicted(of, volume, attention=True).attention[1] for of in (model, stranger)]
    assert found.similarity == {"all": {1: pytest.approx(similarity(*maps))}}
    assert found.similarity["all"][1] < 0.99


def test_deletion_by_attention_and_by_chance(checked):
    found, model, _, volume, reference, _ = checked
    weights = predicted(model, volume, attention=True).attention[1]
    blocks = at_random(volume.grid, _voxels_of(model, 1, volume), SEED)
    assert found.deletion.level == 1
    for curve, order in (
        (found.deletion.by_attention, order_by(weights, blocks)),
        (found.deletion.by_chance, np.argsort(-blocks.ravel(), kind="stable")),
    ):
        assert curve[0] == found.dice["as trained"]
        assert curve[-1] == pytest.approx(dice_of(model, without(volume, order, SHARES[-1]), reference), abs=0.02)
    assert found.deletion.by_attention[-1] < found.deletion.by_chance[-1]


def test_grad_cam_of_each_class(checked):
    found, model, _, volume, reference, output = checked
    for channel, (name, auc) in enumerate(found.grad_cam.items(), start=1):
        cam = grad_cam(model, volume, channel)
        label = model.plan.labels.painted[channel - 1]
        written = nib.load(output / "grad-cam" / f"x_label{label}.nii.gz")
        np.testing.assert_array_equal(np.asarray(written.dataobj), cam)
        of_class = {one.class_name: one.auc for one in focus_of("x", 0, cam, reference, model.plan.labels)}
        assert of_class[name] == auc or (np.isnan(auc) and np.isnan(of_class[name]))


def test_voxels_of_a_level_are_told_along_the_axes_of_the_scan(run):
    model = load_model(run)
    assert model.plan.voxel_mm(1) == (5.0, 5.0, 6.0)
    affine = oblique_affine((1.0, 2.5, 3.0), degrees=4, axes=(2, 0, 1), signs=(-1, 1, 1))
    volume = as_volume(np.zeros((10, 12, 14), dtype=np.float32), affine)
    assert list(_voxels_of(model, 1, volume)) == [2, 5, 2]
