"""All checks of a case, compared with the same steps one by one."""

import copy
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from attention_unet.dataset.cases import Case
from attention_unet.evaluation.metrics import dice
from attention_unet.evaluation.structure_attention import attention_in_structures, mark_unpredicted
from attention_unet.explanation.ablation import ablated, has_replaceable_maps, predict_with_maps
from attention_unet.explanation.checks import (
    FLAT,
    OVERLAP,
    Controls,
    _voxel_size,
    check_case,
    count_steps,
    predict_common_maps,
)
from attention_unet.explanation.common_grid import from_common_grid, mean_maps
from attention_unet.explanation.deletion_curve import SHARES, delete_voxels, random_blocks, rank_voxels, signed_distance
from attention_unet.explanation.findings import summarise_findings
from attention_unet.explanation.grad_cam import grad_cams
from attention_unet.explanation.randomisation_test import randomise_weights, rank_correlation
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import load_model
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.network import AttentionUNet
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume, volume_of_array
from tests.conftest import oblique_affine
from tests.inference.build import plan_of

SEED = 3
pytestmark = pytest.mark.usefixtures("few_deletions")


def cases_of(cohort, number=2):
    paths = sorted((cohort / "imagesTs").iterdir())[:number]
    return [Case(path.name[:-7], (path,), cohort / "labelsTs" / path.name) for path in paths]


@pytest.fixture(scope="module")
def checked(cohort, run, tmp_path_factory):
    output = tmp_path_factory.mktemp("checks")
    model, steps, cases = load_model(run), [], cases_of(cohort)
    controls = Controls(
        [randomise_weights(model, 0), randomise_weights(model, 1)],
        model,
        {c.id: predict_common_maps(model, c) for c in cases},
    )
    found = check_case(model, controls, cases[0], output, SEED, lambda: steps.append(1))
    assert len(steps) == count_steps(model, controls)
    volume = read_volume(cases[0].images[0])
    return found, model, controls, volume, np.asarray(nib.load(cases[0].label).dataobj), output


def predicted(model, volume, attention=False):
    settings = Settings(overlap=OVERLAP, whole_scan=False, attention=attention, drop_small=())
    return predict_volume([model], volume, settings)


def predict_maps(model, volume):
    return {place: mark_unpredicted(weights) for place, weights in predicted(model, volume, True).attention.items()}


def mean_dice(model, label_map, reference):
    groups = model.plan.labels.integers.values()
    return np.nanmean([dice(np.isin(label_map, group), np.isin(reference, group)) for group in groups])


def dice_of(model, volume, reference):
    return mean_dice(model, predicted(model, volume).label_map, reference)


def test_dice_as_trained_and_altered(checked):
    found, model, controls, volume, reference, _ = checked
    assert found.dice["as trained"] == pytest.approx(dice_of(model, volume, reference))
    for how in ("removed", "constant"):
        with ablated(model.network, how):
            assert found.dice[how] == pytest.approx(dice_of(model, volume, reference))
    assert found.dice["removed"] != found.dice["as trained"]
    if "random weights" in found.dice:
        assert found.dice["random weights"] == pytest.approx(dice_of(controls.random[0], volume, reference))


def test_maps_of_others_in_place_of_its_own(checked):
    found, model, controls, volume, reference, _ = checked
    own, other = controls.maps.values()
    for name, maps in (("own map", own), ("another case", other), ("mean map", mean_maps([other]))):
        label_map = predict_with_maps(model, volume, from_common_grid(maps, volume, None), OVERLAP)
        assert found.dice[name] == pytest.approx(mean_dice(model, label_map, reference))
    assert found.dice["own map"] == pytest.approx(found.dice["as trained"], abs=0.02)


def test_a_replaced_map_is_the_one_that_the_network_uses(checked):
    """A map of ones removes attention, for any order and direction of the stored axes."""
    _, model, _, volume, _, _ = checked
    assert has_replaceable_maps(model)
    turned = replace(
        volume,
        array=np.ascontiguousarray(volume.array.transpose(0, 3, 1, 2)[:, :, ::-1]),
        affine=volume.affine @ np.array([[0, -1, 0, volume.grid[0] - 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]),
    )
    for scan in (volume, turned):
        ones = {level: np.ones(scan.grid, np.float32) for level in model.network.attentions()}
        with ablated(model.network, "removed"):
            expected = predicted(model, scan).label_map
        assert (predict_with_maps(model, scan, ones, OVERLAP) == expected).mean() > 0.999
        with_own = predict_with_maps(model, scan, predict_maps(model, scan), OVERLAP)
        assert (with_own == predicted(model, scan).label_map).mean() > 0.99
        closed = {level: np.zeros(scan.grid, np.float32) for level in ones}
        assert (predict_with_maps(model, scan, closed, OVERLAP) == expected).mean() < 0.999


def test_maps_beside_those_of_others(checked):
    found, model, controls, volume, _, _ = checked
    own = predict_maps(model, volume)
    assert found.agreement["second training"] == {level: pytest.approx(1.0) for level in own}  # it is the same model
    one, other = controls.maps.values()
    expected = {level: pytest.approx(rank_correlation(one[level].numpy(), other[level].numpy())) for level in own}
    assert found.agreement["another case"] == expected
    random = [predict_maps(each, volume) for each in controls.random]
    for level, weights in random[0].items():
        if weights.std() > 2**-8:
            assert found.agreement["random weights"][level] == pytest.approx(rank_correlation(own[level], weights))
            assert found.agreement["two random networks"][level] == pytest.approx(
                rank_correlation(random[1][level], weights)
            )
        else:
            assert level not in found.agreement["random weights"]


def test_deletion_by_attention_by_distance_and_by_chance(checked):
    found, model, _, volume, reference, _ = checked
    trained = predicted(model, volume, attention=True)
    blocks = random_blocks(volume.grid, _voxel_size(model, "skip 1", volume), SEED)
    assert found.deletion.place == "skip 1"
    for curve, order in (
        (found.deletion.by_attention, rank_voxels(trained.attention["skip 1"], blocks)),
        (found.deletion.by_distance, rank_voxels(signed_distance(trained.label_map, volume.spacing_mm), blocks)),
        (found.deletion.by_chance, np.argsort(-blocks.ravel(), kind="stable")),
    ):
        assert curve[0] == found.dice["as trained"]
        assert curve[-1] == pytest.approx(dice_of(model, delete_voxels(volume, order, SHARES[-1]), reference), abs=0.02)
    assert found.deletion.by_attention[-1] < found.deletion.by_chance[-1]
    assert found.deletion.by_distance[-1] < found.deletion.by_chance[-1]


class OneBox:
    """A locator that finds the same part of every scan."""

    def locate(self, image):
        return [(6, 30), (16, 40), (8, 20)]


def test_of_a_located_model_only_the_located_part_counts(run, tmp_path):
    """The part that is never predicted is the same for all networks: counted, it would make their maps alike."""
    located = replace(load_model(run), locator=OneBox())
    affine = np.diag([*located.plan.preprocessing.spacing_mm, 1.0])
    box = (slice(6, 30), slice(16, 40), slice(8, 20))
    cases = []
    for seed in range(2):
        array = np.random.default_rng(seed).normal(size=(48, 44, 30)).astype(np.float32)
        paths = [tmp_path / f"{seed}_{kind}.nii.gz" for kind in ("scan", "label")]
        nib.save(nib.Nifti1Image(array, affine), paths[0])
        nib.save(nib.Nifti1Image((array > 0.5).astype(np.uint8), affine), paths[1])
        cases.append(Case(str(seed), (paths[0],), paths[1]))
    second = copy.deepcopy(located)
    with torch.no_grad():
        for weights in second.network.parameters():
            weights *= 1 + 0.3 * torch.randn(weights.shape, generator=torch.manual_seed(0))
    controls = Controls(
        [randomise_weights(located, seed) for seed in range(2)],
        second,
        {each.id: predict_common_maps(located, each) for each in cases},
    )
    found = check_case(located, controls, cases[0], tmp_path, SEED, lambda: None)
    volume = read_volume(cases[0].images[0])
    own, other, random = (
        predict_volume([each], volume, Settings(overlap=OVERLAP, whole_scan=False, attention=True)).attention["skip 1"]
        for each in (located, second, controls.random[0])
    )
    assert own[box].all()
    assert np.count_nonzero(own) == own[box].size
    assert found.agreement["second training"]["skip 1"] == pytest.approx(
        spearmanr(own[box].ravel(), other[box].ravel()).statistic
    )
    assert found.agreement["second training"]["skip 1"] < 0.95
    assert random.std() > FLAT > random[box].std()  # an untrained gate is flat where it is predicted
    assert "skip 1" not in found.agreement["random weights"]
    blocks = random_blocks(volume.grid, _voxel_size(located, "skip 1", volume), SEED)
    inside = np.zeros(volume.grid, bool)
    inside[box] = True
    chance = np.flatnonzero(inside)[np.argsort(-blocks[inside], kind="stable")]
    expected = predicted(located, delete_voxels(volume, chance, SHARES[-1])).label_map
    reference = np.asarray(nib.load(cases[0].label).dataobj)
    assert found.deletion.by_chance[-1] == pytest.approx(mean_dice(located, expected, reference), abs=1e-3)
    assert all(np.array_equal(np.isfinite(cam), inside) for cam in grad_cams(located, volume))
    ones = {place: np.ones(volume.grid, np.float32) for place in predict_maps(located, volume)}
    assert predict_with_maps(replace(located, locator=None), volume, ones, OVERLAP)[~inside].any()
    assert np.unique(inside[predict_with_maps(located, volume, ones, OVERLAP) > 0]).tolist() == [True]  # and no other
    unknown = {
        level: torch.where(torch.rand(weights.shape) > 0.5, weights, torch.nan)
        for level, weights in controls.maps["0"].items()
    }
    filled = from_common_grid(unknown, volume, None)
    assert all(np.isfinite(weights).all() and weights.min() > 0 for weights in filled.values())
    assert np.isfinite(nib.load(tmp_path / "grad-cam" / "0_label1.nii.gz").get_fdata()).all()


def test_grad_cam_of_each_class(checked):
    found, model, _, volume, reference, output = checked
    labels = model.plan.labels
    assert list(found.grad_cam) == list(labels.names)
    for cam, label, (name, auc) in zip(grad_cams(model, volume), labels.painted, found.grad_cam.items(), strict=True):
        written = nib.load(output / "grad-cam" / f"{found.case}_label{label}.nii.gz")
        np.testing.assert_array_equal(np.asarray(written.dataobj), cam)
        of_class = {
            one.class_name: one.auc for one in attention_in_structures("x", 0, cam, reference, model.plan.labels)
        }
        assert of_class[name] == auc or (np.isnan(auc) and np.isnan(of_class[name]))


def test_another_case_is_that_of_another_person():
    maps = {name: {"skip 1": torch.tensor(float(i))} for i, name in enumerate(("a1", "a2", "b", "c"))}
    persons = Controls([], None, maps, {"a1": "a", "a2": "a", "b": "b", "c": "c"})
    assert persons.maps_of_others("a1") == [maps["b"], maps["c"]]
    assert persons.maps_of_others("c") == [maps["a1"], maps["a2"], maps["b"]]
    assert Controls([], None, maps).maps_of_others("a1") == [maps["a2"], maps["b"], maps["c"]]
    assert Controls([], None, {"a1": maps["a1"]}).maps_of_others("a1") == []


def sentences_of(model, cohort, output):
    cases = cases_of(cohort)
    maps = {case.id: predict_common_maps(model, case) for case in cases}
    controls = Controls([randomise_weights(model, seed) for seed in range(2)], None, maps)
    found = check_case(model, controls, cases[0], output, 0, lambda: None)
    many = [replace(found, case=f"case {i}") for i in range(8)]  # enough for a verdict
    return summarise_findings(many, model.sha256)["sentences"]


def test_an_untrained_network_is_called_that(cohort, run, tmp_path):
    sentences = sentences_of(randomise_weights(load_model(run), 5), cohort, tmp_path)
    assert "this network has learned too little for the checks below to mean much." in sentences[0]
    assert not any("follow" in sentence or "training has changed" in sentence for sentence in sentences)


def test_a_network_that_does_not_use_its_gate_is_called_that(cohort, run, tmp_path):
    """All gates are constant: every weight is 1 for any scan."""
    model = load_model(run)
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        for attention in network.attentions().values():
            for parameter in attention.parameters():
                parameter.zero_()
            list(attention.parameters())[-1].fill_(50.0)  # the bias in front of the sigmoid
    idle = replace(model, network=network)
    weights = predict_maps(idle, read_volume(cases_of(cohort)[0].images[0]))
    assert all((each == 1).all() for each in weights.values())
    sentences = sentences_of(idle, cohort, tmp_path)
    assert any("nothing shows that this network uses its attention" in sentence for sentence in sentences)
    assert not any("Deleting" in sentence or "Maps correlate" in sentence for sentence in sentences)


def test_voxels_of_a_level_are_told_along_the_axes_of_the_scan(run):
    model = load_model(run)
    assert model.plan.voxel_mm("skip 1", np.eye(4), (10, 12, 14)) == (5.0, 5.0, 6.0)
    affine = oblique_affine((1.0, 2.5, 3.0), degrees=4, axes=(2, 0, 1), signs=(-1, 1, 1))
    volume = volume_of_array(np.zeros((10, 12, 14), dtype=np.float32), affine)
    assert list(_voxel_size(model, "skip 1", volume)) == [2, 5, 2]


def test_dice_without_each_channel(cohort, tmp_path):
    """Of a network on two channels; the second is the first with noise."""
    torch.manual_seed(0)
    case = cases_of(cohort, 1)[0]
    volume = read_volume(case.images[0])
    noisy = volume.array + np.random.RandomState(0).normal(scale=volume.array.std(), size=volume.array.shape)
    second = nib.Nifti1Image(noisy[0].astype(np.float32), volume.affine)
    nib.save(second, tmp_path / "second.nii.gz")
    plan = plan_of((16, 16, 8), (3.0, 3.0, 4.0), labels=Labels({"a": (1, 2, 3)}, (1,)), channels=("T1", "T2"))
    model = Model(AttentionUNet(plan.architecture), plan, torch.device("cpu"))
    case = replace(case, images=(case.images[0], tmp_path / "second.nii.gz"))
    steps = []
    found = check_case(model, Controls([], None, {}), case, tmp_path, SEED, lambda: steps.append(1))
    reference = np.asarray(nib.load(case.label).dataobj)
    both = volume_of_array(np.concatenate([volume.array, noisy.astype(np.float32)]), volume.affine)
    for number, name in enumerate(plan.channels):
        changed = both.array.copy()
        changed[number] = 0
        dice_without = dice_of(model, replace(both, array=changed), reference)
        assert found.dice[f"without {name}"] == pytest.approx(dice_without, abs=1e-6)
    assert found.dice["without T1"] != found.dice["without T2"]
