"""Trainings on images that are synthesized from label maps."""

import json
import shutil

import numpy as np
import pytest

from attention_unet.cli import main
from attention_unet.config import DataConfig
from attention_unet.dataset.case_facts import measure_case
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.reading import read_case, read_channels
from attention_unet.errors import DataError
from attention_unet.evaluation.evaluated_files import read_evaluated_files
from attention_unet.inference.model_file import load_model
from tests.conftest import save_nifti

SHORT = ["--training.steps=2", "--training.validations=1", "--network.base_channels=4", "--data.folds=2"]


@pytest.fixture
def labels_alone(cohort, tmp_path):
    shutil.copytree(cohort / "labelsTr", tmp_path / "Alone" / "labelsTr")
    return tmp_path / "Alone"


def test_label_maps_alone_are_a_dataset(labels_alone, tmp_path, capsys):
    dataset = find_dataset(DataConfig(root=str(labels_alone)))
    assert len(dataset.cases) == 8
    assert all(case.synthetic for case in dataset.cases)
    assert dataset.labels.names == ("label 1", "label 2", "label 3")
    assert 0.3 < read_channels(dataset.cases[0]).array.std() < 1.1
    run = ["cross-validate", "--data.root", str(labels_alone), "--run", str(tmp_path / "cv"), *SHORT]
    assert main(run) == 2
    told = "has label maps and no images: add them, or set augmentation.synthesize to 1 to make"
    assert told in capsys.readouterr().err
    assert main([*run, "--augmentation.synthesize=1"]) == 0
    assert json.loads((tmp_path / "cv" / "summary.json").read_text())["n_cases"] == 8
    assert main(["report", str(tmp_path / "cv")]) == 0
    evaluated, case = read_evaluated_files(tmp_path / "cv"), dataset.cases[0]
    assert np.array_equal(read_channels(evaluated.cases[case.id]).array, read_channels(case).array)
    assert main(["inspect", str(labels_alone), "--no-trial"]) == 2
    assert main(["inspect", str(labels_alone), "--no-trial", "--augmentation.synthesize", "1"]) == 0


def test_a_share_of_synthetic_images_beside_real_ones(cohort, tmp_path):
    run = ["train", "--data.root", str(cohort), "--run", str(tmp_path / "run"), *SHORT, "--augmentation.synthesize=0.5"]
    assert main(run) == 0
    scan = next((cohort / "imagesTs").iterdir())
    assert set(np.unique(load_model(tmp_path / "run").predict(scan).label_map.dataobj)) <= {0, 1, 2, 3}


def test_label_maps_alone_of_a_decathlon_folder(cohort, labels_alone):
    """Its images were removed; the list of them is still there."""
    described = json.loads((cohort / "dataset.json").read_text())
    (labels_alone / "dataset.json").write_text(json.dumps(described))
    dataset = find_dataset(DataConfig(root=str(labels_alone)))
    assert len(dataset.cases) == 8
    assert all(case.synthetic for case in dataset.cases)
    (labels_alone / "dataset.json").write_text(json.dumps(described | {"modality": {"0": "T1", "1": "T2"}}))
    with pytest.raises(DataError, match="names 2 channels, but there are no images"):
        find_dataset(DataConfig(root=str(labels_alone)))


def test_a_label_map_under_two_names_is_a_copy(labels_alone, capsys):
    label = next((labels_alone / "labelsTr").iterdir())
    shutil.copy(label, label.with_name("copy.nii.gz"))
    options = ["--no-trial", "--augmentation.synthesize", "1", "--data.fold", "-1"]
    assert main(["inspect", str(labels_alone), *options]) == 0
    assert "the same image" in capsys.readouterr().err


def test_label_maps_without_a_class_are_no_copies(labels_alone):
    for name in ("one", "two"):
        save_nifti(labels_alone / "labelsTr" / f"{name}.nii.gz", np.zeros((8, 8, 8), np.uint8))
    dataset = find_dataset(DataConfig(root=str(labels_alone)))
    cases = [case for case in dataset.cases if case.id in ("one", "two")]
    digests = {measure_case(case, *read_case(case, 1, dataset.labels)[:2], dataset.labels, ()).digest for case in cases}
    assert len(digests) == 2
