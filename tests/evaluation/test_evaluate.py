import json
import re
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from attention_unet.cli import main
from attention_unet.dataset.cases import Case
from attention_unet.errors import first_few
from attention_unet.evaluation import example_cases
from attention_unet.evaluation.case_warnings import CaseWarnings
from attention_unet.evaluation.evaluate import evaluate_cases, evaluate_folder
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.evaluation.rows import Row
from attention_unet.evaluation.score import score_cases
from attention_unet.evaluation.summary import Statistics, summarise
from attention_unet.evaluation.summary_table import print_table
from attention_unet.pictures.mosaic import draw_mosaic
from attention_unet.scans.labels import FOREGROUND, Labels
from attention_unet.scans.volume_files import volumes_by_case
from tests.conftest import read_csv, save_nifti
from tests.evaluation.build import AFFINE, label_map, metrics, same_masks

LABELS = Labels({"a": (1,), "b": (2, 3)}, (1, 2))


def evaluate(folder, cases):
    images = {case: folder / "i" / f"{case}.nii.gz" for case in cases}
    found = [
        Case(case, (images[case],) if images[case].exists() else (), folder / "r" / f"{case}.nii.gz") for case in cases
    ]
    return evaluate_cases(found, volumes_by_case(folder / "p"), folder / "out", LABELS)


def rows_of(folder):
    return read_csv(folder / "out" / "metrics.csv")


def test_table_and_summary(tmp_path):
    for case, shift in (("x", 0), ("y", 1)):
        save_nifti(tmp_path / "p" / f"{case}.nii.gz", label_map(shift), AFFINE)
        save_nifti(tmp_path / "r" / f"{case}.nii.gz", label_map(), AFFINE)
    summary, failed = evaluate(tmp_path, ["x", "y"])
    assert failed == {}
    rows = rows_of(tmp_path)
    names = ["a", "b", FOREGROUND]
    assert [(row["case"], row["class"]) for row in rows] == [(case, name) for case in "xy" for name in names]
    assert float(rows[0]["dice"]) == 1
    assert float(rows[3]["dice"]) == pytest.approx(0.75)
    assert float(rows[3]["hd95_mm"]) == pytest.approx(0.9, abs=1e-5)
    assert summary.foreground["dice"].mean == pytest.approx((1 + (137 - 36) / 137) / 2)
    dice_of_y = [float(row["dice"]) for row in rows[3:5]]
    assert summary.worst_cases == {"y": pytest.approx(sum(dice_of_y) / 2), "x": 1.0}
    assert list(summary.worst_cases) == ["y", "x"]
    assert summary.classes["a"]["dice"].mean == pytest.approx(0.875)
    assert summary.foreground_mean["dice"] == pytest.approx(
        np.mean([summary.classes[name]["dice"].mean for name in "ab"])
    )
    assert (tmp_path / "out" / "summary.json").read_text() == json.dumps(summary.to_json(), indent=2) + "\n"
    assert summary.n_cases == 2


def test_a_missing_prediction_scores_zero_and_is_named(tmp_path):
    for case in ("x", "y"):
        save_nifti(tmp_path / "r" / f"{case}.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "x.nii.gz", label_map(), AFFINE)
    summary, _ = evaluate(tmp_path, ["x", "y"])
    assert summary.warnings.missing_predictions == ["y"]
    assert summary.classes["a"]["dice"].mean == pytest.approx(0.5)
    hd95 = summary.classes["a"]["hd95_mm"]
    assert (hd95.mean, hd95.finite_mean, hd95.n, hd95.n_infinite, hd95.n_undefined) == (None, 0, 2, 1, 0)
    assert rows_of(tmp_path)[3]["hd95_mm"] == "inf"


def test_a_prediction_on_another_grid_fails_alone(tmp_path):
    for case in ("x", "y"):
        save_nifti(tmp_path / "r" / f"{case}.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "x.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "y.nii.gz", label_map(), np.eye(4))
    summary, failed = evaluate(tmp_path, ["x", "y"])
    assert list(failed) == ["y"]
    assert "affines must agree" in failed["y"]
    assert summary.n_cases == 1
    assert summary.warnings.failed == {"y": failed["y"].replace(f"{tmp_path}/", "../")}  # as seen from the results
    assert str(tmp_path) not in (tmp_path / "out" / "summary.json").read_text()


def test_a_failed_case_is_named_by_paths_that_can_be_moved(tmp_path, monkeypatch):
    """The path of the prediction is part of that of the label."""
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "x.nii.gz", label_map(), np.eye(4))
    monkeypatch.chdir(tmp_path / "p")
    _, failed = evaluate_folder(".", "../r", "../e")
    assert list(failed) == ["x"]
    reason = json.loads((tmp_path / "e" / "summary.json").read_text())["failed"]["x"]
    assert "../r/x.nii.gz" in reason
    assert "../p/x.nii.gz" in reason
    assert "../r/../p" not in reason


def test_what_no_class_or_reference_has_is_told(tmp_path, capsys):
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "x.nii.gz", (label_map() > 0).astype(np.uint8) * 255, AFFINE)
    summary, _ = evaluate(tmp_path, ["x"])
    assert summary.warnings.unknown_labels == {"x": [255]}
    save_nifti(tmp_path / "r" / "z.nii.gz", np.where(label_map() == 3, 9, label_map()), AFFINE)
    assert evaluate(tmp_path, ["z"])[0].warnings.unknown_labels == {"z": [9]}
    save_nifti(tmp_path / "p" / "x.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "y.nii.gz", label_map(), AFFINE)
    assert main(["evaluate", "-p", str(tmp_path / "p"), "-r", str(tmp_path / "r"), "-o", str(tmp_path / "out")]) == 0
    assert "p: without reference: 1 case: y" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["p", "r"])
def test_results_do_not_go_among_masks(tmp_path, capsys, folder):
    call = same_masks(tmp_path, folder)
    (tmp_path / folder / "summary.json").write_text("of another tool")
    assert main(call) == 2
    assert "label maps: name another folder with -o" in capsys.readouterr().err
    assert (tmp_path / folder / "summary.json").read_text() == "of another tool"


def test_names_of_classes_are_no_markup(tmp_path, capsys):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "[/b]", "2": "[red]"}}))
    assert main(same_masks(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "[/b]" in out
    assert "[red]" in out


def test_undefined_values_are_counted_and_never_averaged():
    rows = [
        Row("x", "a", metrics(dice=0.8, hd95_mm=1.0, volume_ml=1, reference_volume_ml=1)),
        Row("y", "a", metrics(volume_ml=0, reference_volume_ml=0)),
        Row("z", "a", metrics(dice=0.0, hd95_mm=inf, volume_ml=1, reference_volume_ml=0)),
        Row("x", "b", metrics(volume_ml=0, reference_volume_ml=0)),
    ]
    summary = summarise(rows, CaseWarnings(), {})
    assert summary.classes["a"]["dice"].mean == pytest.approx(0.4)
    assert summary.classes["a"]["hd95_mm"] == Statistics(
        mean=None, finite_mean=1.0, sd=None, median=None, ci95=None, n=2, n_infinite=1, n_undefined=1
    )
    assert summary.classes["b"]["dice"].mean is None
    assert summary.foreground_mean["dice"] == pytest.approx(0.4)
    console = Console(record=True, width=200)
    print_table(summary, console)
    assert "0.4000 ± 0.566" in (text := console.export_text())
    assert re.search(r"a +0\.4000 .* ∞ ", text)
    assert "a: both masks are empty in 1 case, left out of the means" in text
    assert "a: missed or invented in 1 case, where HD95 is infinite; mean of the others 1.00 mm, n = 1" in text


def test_where_nothing_is_defined_no_mean_is_invented():
    rows = [Row(case, name, metrics(volume_ml=0, reference_volume_ml=0)) for case in "xyz" for name in "ab"]
    summary = summarise(rows, CaseWarnings(), {})
    assert summary.foreground_mean["hd95_mm"] is None
    assert set(summary.mean_of_classes.values()) == {None}
    console = Console(record=True, width=200)
    print_table(summary, console)
    (line,) = [line for line in console.export_text().splitlines() if "mean of classes" in line]
    assert "0" not in line


def test_the_mean_of_classes_hides_none_that_was_never_predicted():
    rows = [Row(case, "a", metrics(dice=0.9, hd95_mm=1.0)) for case in "xyz"]
    rows += [Row(case, "b", metrics(dice=dice, hd95_mm=inf)) for case, dice in zip("xyz", (0, 0.1, 0.2), strict=True)]
    rows += [Row(case, "nowhere", metrics()) for case in "xyz"]
    summary = summarise(rows, CaseWarnings(), {})
    assert summary.foreground_mean["hd95_mm"] is None
    assert summary.foreground_mean["dice"] == pytest.approx(0.5)
    assert summary.mean_of_classes["hd95_mm"].n_infinite == 3
    dice = summary.mean_of_classes["dice"]
    assert (dice.mean, dice.sd, dice.n) == (pytest.approx(0.5), pytest.approx(0.05), 3)


def test_interval_covers_the_mean_of_known_draws():
    random = np.random.RandomState(0)
    rows = [Row(str(i), "a", metrics(dice=v)) for i, v in enumerate(random.normal(0.8, 0.05, 100))]
    low, high = summarise(rows, CaseWarnings(), {}).classes["a"]["dice"].ci95
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * 1.98 * 0.05 / 10, rel=0.25)
    together = [replace(row, subject=str(i // 10)) for i, row in enumerate(rows)]
    summary = summarise(together, CaseWarnings(), {})
    assert summary.n_subjects == 10
    of_persons = np.reshape([row.metrics.dice for row in rows], (10, 10)).mean(axis=1)
    known = stats.ttest_1samp(of_persons, 0).confidence_interval()
    assert summary.classes["a"]["dice"].ci95 == pytest.approx((known.low, known.high))


def test_the_picture_shows_worst_middle_and_best(tmp_path, monkeypatch):
    shown = []

    def drawing(scenes, names):
        shown.extend(scenes)
        return draw_mosaic(scenes, names)

    monkeypatch.setattr(example_cases, "draw_mosaic", drawing)
    for case, shift in zip("abcde", (3, 0, 2, 4, 1), strict=True):
        for folder, array in (("p", label_map(shift)), ("r", label_map()), ("i", label_map().astype(np.float32))):
            save_nifti(tmp_path / folder / f"{case}.nii.gz", array, AFFINE)
    _, failed = evaluate(tmp_path, "abcde")
    assert failed == {}
    assert [scene.title.partition("\n")[0] for scene in shown] == ["d", "c", "b"]
    assert len({scene.title.partition("Dice ")[2] for scene in shown}) == 3
    assert shown[2].title.endswith("Dice 1.000")
    for scene, shift in zip(shown, (4, 2, 0), strict=True):
        assert np.array_equal(scene.prediction > 0, label_map(shift) > 0)


@pytest.mark.parametrize("cases", [("x", "y", "z"), ("x_0000", "x_0001", "x_0002")])
def test_showcase_draws_worst_middle_and_best(tmp_path, cases, monkeypatch):
    monkeypatch.setattr(example_cases, "draw_mosaic", draw_mosaic)
    for case, shift in zip(cases, (0, 1, 2), strict=True):
        save_nifti(tmp_path / "p" / f"{case}.nii.gz", label_map(shift), AFFINE)
        save_nifti(tmp_path / "r" / f"{case}.nii.gz", label_map(), AFFINE)
        save_nifti(tmp_path / "i" / f"{case}.nii.gz", label_map().astype(np.float32), AFFINE)
    weights = np.full((10, 10, 10), 0.5, dtype=np.float32)
    save_nifti(tmp_path / "p" / "attention" / f"{cases[0]}_skip1.nii.gz", weights, AFFINE)
    evaluate(tmp_path, cases)
    path = tmp_path / "out" / "picture.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    save_nifti(tmp_path / "p" / "attention" / f"{cases[0]}_skip1.nii.gz", weights[:5], AFFINE)
    monkeypatch.setattr("attention_unet.evaluation.evaluate.write_structure_attention", lambda *_: {})
    _, failed = evaluate(tmp_path, cases)
    assert "skip1.nii.gz" in failed[cases[0]]


def test_predictions_of_which_none_has_the_name_of_a_reference_are_no_empty_ones(tmp_path, capsys):
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    save_nifti(tmp_path / "p" / "x_seg.nii.gz", label_map(), AFFINE)
    call = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(tmp_path / "r"), "-o", str(tmp_path / "out")]
    assert main(call) == 2
    err = capsys.readouterr().err
    assert "holds no prediction of these cases, but x_seg: expected masks with the names of the references" in err
    assert "such as x.nii.gz" in err


@pytest.mark.parametrize(("count", "text"), [(0, ""), (5, "c0, c1, c2, c3, c4"), (7, "c0, c1, c2, c3, c4 and 2 more")])
def test_many_names_are_counted(count, text):
    assert first_few([f"c{i}" for i in range(count)]) == text


def test_a_folder_that_is_scored_against_itself_is_warned_of(tmp_path, capsys):
    save_nifti(tmp_path / "r" / "x.nii.gz", label_map(), AFFINE)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x.nii.gz").symlink_to(tmp_path / "r" / "x.nii.gz")
    for predictions in ("r", "p"):
        call = ["evaluate", "-p", str(tmp_path / predictions), "-r", str(tmp_path / "r"), "-o", str(tmp_path / "out")]
        assert main(call) == 0
        assert "predictions and references are the same files: the scores mean nothing" in capsys.readouterr().err


def test_links_are_written_down_as_they_are_named(tmp_path):
    """The target may be called after a person, or, as in DataLad, after its content and without an ending."""
    for folder in "pr":
        save_nifti(tmp_path / "store" / f"{folder}.nii.gz", label_map(), AFFINE).rename(tmp_path / "store" / folder)
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.nii.gz").symlink_to(tmp_path / "store" / folder)
    evaluate_folder(tmp_path / "p", tmp_path / "r", tmp_path / "out")
    assert "store" not in (tmp_path / "out" / "scored.json").read_text()
    files = read_evaluated_files(tmp_path / "out")
    assert files.folder_and_stem("x") == (tmp_path / "p", "x")
    assert files.reference("x") == tmp_path / "r" / "x.nii.gz"


def test_volumes_of_sheared_scans_are_those_of_their_voxels(tmp_path):
    affine = np.diag([2.0, 3, 4, 1])
    affine[0, 1] = 1  # the second axis is sqrt(10) mm long, but voxels have 24 mm3
    label = save_nifti(tmp_path / "x.nii.gz", label_map(), affine)
    with pytest.warns(UserWarning, match="distances in mm are approximate"):
        (row,), _, _ = score_cases([Case("x", (), label)], {"x": label}, Labels({"a": (1,)}, (1,)), 1.0, lambda: None)
    assert row.metrics.volume_ml == row.metrics.reference_volume_ml == pytest.approx(64 * 0.024)


def test_the_worst_cases_are_the_worst():
    dice = {f"case{n}": 0.1 * n for n in (4, 1, 7, 3, 6, 2, 5)}
    rows = [Row(case, "a", metrics(dice=value)) for case, value in dice.items()]
    worst = summarise(rows, CaseWarnings(), {}).worst_cases
    assert list(worst) == ["case1", "case2", "case3", "case4", "case5"]
