"""The commands a user types, from a folder of scans to a table, on phantoms."""

import hashlib
import json
import logging
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from attention_unet.cli import main
from attention_unet.dataset.splits import read_split
from attention_unet.scans.volumes import read_labels, read_volume
from tests.conftest import SMALL, save_nifti
from tests.scans.dicom_files import HEADER, save, slice_of


def test_the_main_job(cohort, run, tmp_path, capsys):
    predictions, results = tmp_path / "predictions", tmp_path / "results"
    images, references = cohort / "imagesTs", cohort / "labelsTs"
    assert main(["predict", "-i", str(images), "-o", str(predictions), "-m", str(run), "--attention-maps"]) == 0
    call = ["evaluate", "-p", str(predictions), "-r", str(references), "-o", str(results), "--images", str(images)]
    assert main(call) == 0
    printed = capsys.readouterr()
    assert "Ventricle" in printed.out
    assert "picture.png" in printed.err
    summary = json.loads((results / "summary.json").read_text())
    assert summary["n_cases"] == 2
    assert summary["classes"]["Ventricle"]["dice"]["mean"] > 0.6  # a hundred small steps learn the large structure
    for scan in sorted(images.iterdir()):
        before, after = nib.load(scan), nib.load(predictions / scan.name)
        assert before.shape == after.shape
        np.testing.assert_array_equal(before.affine, after.affine)
        assert set(np.unique(np.asarray(after.dataobj))) <= {0, 1, 2, 3}
        weights = nib.load(predictions / "attention" / scan.name.replace(".nii.gz", "_skip1.nii.gz"))
        assert weights.shape == before.shape
        assert 0 <= weights.get_fdata().min() <= weights.get_fdata().max() <= 1


def test_everything_that_can_be_told_of_a_scan(cohort, run, tmp_path, capsys):
    """A MetaImage in, a MetaImage out, all that is asked for on the same grid; told as it was made."""
    scan = sitk.ReadImage(str(sorted((cohort / "imagesTs").iterdir())[0]))
    (tmp_path / "in").mkdir()
    sitk.WriteImage(scan, str(tmp_path / "in" / "one.mha"))
    call = ["predict", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(run), "-m", str(run)]
    wanted = ["--probabilities", "--uncertainty", "--keep-all-components", "--format=own"]
    assert main([*call, *wanted]) == 0
    mask = sitk.ReadImage(str(tmp_path / "out" / "one.mha"))
    np.testing.assert_allclose(mask.GetDirection(), scan.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(mask.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    probabilities = nib.load(tmp_path / "out" / "probabilities" / "one.nii.gz").get_fdata()
    assert probabilities.shape == (*scan.GetSize(), 4)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    likeliest = probabilities.argmax(axis=-1)
    assert (likeliest == sitk.GetArrayFromImage(mask).T).mean() > 0.98  # but for smaller pieces, if they were taken
    entropy = nib.load(tmp_path / "out" / "uncertainty" / "one_entropy.nii.gz").get_fdata()
    of_them = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=-1) / np.log(4)
    np.testing.assert_allclose(entropy, of_them, atol=1e-5)
    disagreement = nib.load(tmp_path / "out" / "uncertainty" / "one_disagreement.nii.gz").get_fdata()
    assert disagreement.max() < 1e-5  # of a model with itself
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    content = (tmp_path / "in" / "one.mha").read_bytes()
    assert told["cases"]["one"]["sha256"]["one.mha"] == hashlib.sha256(content).hexdigest()
    assert told["device"] == "cpu"
    assert told["peak_memory_bytes"] > 2**20
    assert (tmp_path / "out" / "preview" / "one.jpg").is_file()
    capsys.readouterr()
    wanted = [*wanted, "--attention-maps", "--resume"]
    assert main([*call, *wanted]) == 0
    assert "warning: one: was predicted without attention: predicted again" in capsys.readouterr().err
    assert main([*call, *wanted]) == 0
    assert "0 predicted" in capsys.readouterr().err


def test_a_series_becomes_a_segmentation_for_slicer_and_for_the_archive(cohort, run, tmp_path, capsys):
    scan = read_volume(min((cohort / "imagesTs").iterdir()))
    series, out = tmp_path / "in" / "series", tmp_path / "out"
    series.mkdir(parents=True)
    for k in range(scan.grid[2]):
        save(series / f"{k}.dcm", slice_of(scan.array[0].astype(np.int16), scan.affine, k, **HEADER))
    call = ["predict", "-o", str(out), "-m", str(run), "--format=seg.nrrd", "--resume", "--dicom-seg", "-i"]
    assert main([*call, str(tmp_path / "in")]) == 0
    mask = read_labels(out / "series.seg.nrrd")
    segmentation = dcmread(out / "dicom" / "series.dcm")
    assert [each.SegmentLabel for each in segmentation.SegmentSequence] == ["Ventricle", "Nucleus", "Lesion"]
    frames = segmentation.pixel_array.reshape(-1, scan.grid[1] * scan.grid[0]).sum()
    assert frames == np.count_nonzero(mask.array) > 0
    assert "Ventricle" in (out / "itk-snap_labels.txt").read_text()
    capsys.readouterr()
    assert main([*call, str(tmp_path / "in")]) == 0
    assert "0 predicted" in capsys.readouterr().err
    table = tmp_path / "codes.csv"
    table.write_text(
        "class,scheme,value,meaning\n" + "".join(f"{x},SCT,1,{x}\n" for x in ("Ventricle", "Nucleus", "Lesion"))
    )
    assert main([*call, str(tmp_path / "in"), f"--codes={table}"]) == 2
    assert "made with another model or other options" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "in"), f"--codes={table}", "--overwrite"]) == 0
    (first, *_) = dcmread(out / "dicom" / "series.dcm").SegmentSequence
    assert first.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "SCT"
    shutil.copy(min((cohort / "labelsTs").iterdir()), tmp_path / "series.nii.gz")
    (tmp_path / "truth").mkdir()
    shutil.move(tmp_path / "series.nii.gz", tmp_path / "truth")
    assert main(["evaluate", f"-p={out}", f"-r={tmp_path / 'truth'}", f"-o={tmp_path / 'scores'}"]) == 0
    assert json.loads((tmp_path / "scores" / "summary.json").read_text())["classes"]["Ventricle"]["dice"]["mean"] > 0.6
    assert main(["predict", f"-i={cohort / 'imagesTs'}", f"-o={tmp_path / 'o'}", f"-m={run}", "--dicom-seg"]) == 1
    assert "is not a folder of a DICOM series: expected one with --dicom-seg" in capsys.readouterr().err
    assert main(["predict", f"-i={series}", f"-o={tmp_path / 'o'}", f"-m={run}", "--codes=codes.csv"]) == 2


def test_trees_and_bids_datasets(cohort, run, tmp_path, capsys):
    scan = min((cohort / "imagesTs").iterdir())
    place = tmp_path / "raw" / "sub-01" / "anat"
    place.mkdir(parents=True)
    shutil.copy(scan, place / "sub-01_T1w.nii.gz")
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    call = ["predict", "-i", str(tmp_path / "raw"), "-m", str(run)]
    assert main([*call, "-o", str(tmp_path / "bids"), "--bids-suffix=T1w", "--participant=01"]) == 0
    assert main([*call, "-o", str(tmp_path / "tree"), "--recursive"]) == 0
    of_bids = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_space-orig_desc-attentionunet_dseg.nii.gz"
    of_tree = tmp_path / "tree" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    assert of_bids.read_bytes() == of_tree.read_bytes()
    assert main([*call, "-o", str(tmp_path / "other"), "--participant=01"]) == 2
    assert "--participant is given without --bids-suffix" in capsys.readouterr().err
    assert main([*call, "-o", str(tmp_path / "other"), "--recursive", f"--held-out-of={run}"]) == 2
    assert not (tmp_path / "other").exists()


def test_other_libraries_are_heard_when_they_warn(tmp_path, capsys):
    main(["phantom", "--root", str(tmp_path), "--training", "1", "--test", "1"])
    logging.getLogger("matplotlib").info("generated a cache of fonts")
    logging.getLogger("matplotlib").warning("no font to be found")
    heard = capsys.readouterr().err
    assert "1 case to train on" in heard
    assert "no font to be found" in heard
    assert "generated a cache of fonts" not in heard
    assert logging.getLogger("nibabel.global").level == logging.CRITICAL  # or it speaks of headers of no name


def test_scores_of_what_a_model_was_trained_on_are_told(cohort, run, tmp_path, capsys):
    taught, held_out = read_split(run / "splits.json").training[0], read_split(run / "splits.json").validation[0]
    for case in (taught, held_out):
        shutil.copy(cohort / "imagesTr" / f"{case}.nii.gz", tmp_path / f"{case}.nii.gz")
    call = ["predict", "-i", str(tmp_path), "-o", str(tmp_path / "p"), "-m", str(run)]
    assert main(call) == 0
    call = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(cohort / "labelsTr"), "-o", str(tmp_path / "e")]
    assert main([*call, "--predicted-only"]) == 0
    told = capsys.readouterr().err
    assert f"1 of 2 cases are training cases of the model, their scores are too good: {taught}" in told
    assert "have no prediction" not in told
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert (summary["n_cases"], summary["missing_predictions"], summary["trained_on"]) == (2, [], [taught])


def test_they_are_recognised_when_everything_was_moved_and_renamed(cohort, run, tmp_path, capsys):
    """The model file alone, the scan under another name and in another storage order, the predictions elsewhere."""
    taught, held_out = read_split(run / "splits.json").training[0], read_split(run / "splits.json").validation[0]
    shutil.copy(run / "model.safetensors", tmp_path / "passed-on.safetensors")
    for name, case in (("p", taught), ("q", held_out)):
        for folder in ("imagesTr", "labelsTr"):
            image = nib.load(cohort / folder / f"{case}.nii.gz")
            turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(turned, tmp_path / folder / f"{name}.nii.gz")
    call = ["predict", "-i", str(tmp_path / "imagesTr"), "-o", str(tmp_path / "made")]
    assert main([*call, "-m", str(tmp_path / "passed-on.safetensors")]) == 0
    (tmp_path / "made").rename(tmp_path / "moved")
    (tmp_path / "passed-on.safetensors").unlink()
    call = ["evaluate", "-p", str(tmp_path / "moved"), "-r", str(tmp_path / "labelsTr"), "-o", str(tmp_path / "e")]
    assert main(call) == 0
    assert "1 of 2 cases are training cases of the model, their scores are too good: p" in capsys.readouterr().err


def test_held_out_cases_alone_have_the_scores_of_the_validation_in_training(cohort, run, tmp_path):
    """The same functions serve both: at the same overlap the Dice is the same."""
    images, labels = cohort / "imagesTr", cohort / "labelsTr"
    held_out = ["--held-out-of", str(run)]
    predict = ["predict", "-i", str(images), "-o", str(tmp_path / "p"), "-m", str(run), "--overlap", "0.25"]
    assert main([*predict, "--keep-all-components", *held_out]) == 0
    cases = read_split(run / "splits.json").validation
    assert sorted(p.name for p in (tmp_path / "p").glob("*.nii.gz")) == sorted(f"{case}.nii.gz" for case in cases)
    assert main(["evaluate", "-p", str(tmp_path / "p"), "-r", str(labels), "-o", str(tmp_path / "e"), *held_out]) == 0
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert (summary["n_cases"], summary["missing_predictions"], summary["trained_on"]) == (2, [], [])
    assert list(summary["classes"]) == ["Ventricle", "Nucleus", "Lesion"]
    trained = json.loads((run / "model.json").read_text())["trained"]
    assert summary["foreground_mean"]["dice"] == pytest.approx(trained["dice"], abs=1e-6)


@pytest.mark.parametrize(
    ("stacked", "dims"),
    [
        (False, "2"),
        (True, "3"),
        pytest.param(False, "3", marks=pytest.mark.long),
        pytest.param(True, "2", marks=pytest.mark.long),
    ],
)
def test_two_channels_and_regions(cohort, tmp_path, stacked, dims):
    """nnU-Net's layout with overlapping classes, from training to a table."""
    root = tmp_path / "Dataset001_Two"
    for path in sorted((cohort / "imagesTr").iterdir())[:5]:
        image, label = nib.load(path), cohort / "labelsTr" / path.name
        channels = [image.get_fdata(dtype=np.float32), -image.get_fdata(dtype=np.float32)]
        name = path.name.removesuffix(".nii.gz")
        if stacked:
            save_nifti(root / "imagesTr" / path.name, np.stack(channels, axis=-1), image.affine)
        else:
            for i, array in enumerate(channels):
                save_nifti(root / "imagesTr" / f"{name}_{i:04d}.nii.gz", array, image.affine)
        save_nifti(root / "labelsTr" / path.name, np.asarray(nib.load(label).dataobj), image.affine)
    labels = {"background": 0, "any": [1, 2, 3], "lesion": [3]}
    description = {"channel_names": {"0": "T1", "1": "negative"}, "labels": labels, "regions_class_order": [1, 3]}
    (root / "dataset.json").write_text(json.dumps(description))
    small = [*SMALL, "--network.dims", dims]
    small[small.index("--training.steps") + 1] = "3"
    small[small.index("--data.patch") + 1] = "[24,24,1]" if dims == "2" else "[24,24,12]"
    run = str(tmp_path / "run")
    assert main(["train", "--data.root", str(tmp_path), "--data.dataset", root.name, "--run", run, *small]) == 0
    held_out = ["--held-out-of", run]
    assert main(["predict", "-i", str(root / "imagesTr"), "-o", str(tmp_path / "p"), "-m", run, *held_out]) == 0
    for path in (tmp_path / "p").glob("*.nii.gz"):
        assert set(np.unique(np.asarray(nib.load(path).dataobj))) <= {0, 1, 3}
    evaluate = ["evaluate", "-p", str(tmp_path / "p"), "-r", str(root / "labelsTr"), "-o", str(tmp_path / "e")]
    assert main([*evaluate, *held_out]) == 0
    assert list(json.loads((tmp_path / "e" / "summary.json").read_text())["classes"]) == ["any", "lesion"]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGINT])
def test_what_is_done_is_noted_when_a_prediction_is_stopped(tmp_path, number):
    for i in range(60):
        save_nifti(tmp_path / "in" / f"case{i:02d}.nii", np.random.default_rng(i).normal(size=(30, 30, 30)))
    code = "import signal, sys; from attention_unet.cli import main; "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"  # a shell may have ignored it
    call = ["predict", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", "hippocampus"]
    process = subprocess.Popen([sys.executable, "-c", code, *call], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / "case02.nii.gz").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    told = process.communicate()[1]
    assert process.returncode == 128 + number, told
    assert ("stopped: the same command with --resume predicts the rest" in told) == (number == signal.SIGINT)
    there = sorted(path.name[:6] for path in (tmp_path / "out").glob("case*.nii.gz"))
    noted = sorted(json.loads((tmp_path / "out" / "run.json").read_text())["cases"])
    assert 2 <= len(noted) < 60
    assert noted == there[: len(noted)]
    assert len(there) - len(noted) <= 1  # the one that was being noted
    assert not list((tmp_path / "out").rglob(".attention_unet-partial*"))
