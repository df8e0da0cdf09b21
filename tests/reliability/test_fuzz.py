"""Generated scans, masks, configurations and descriptions: the result is right, or an error is reported.

A failure is printed with its seed; FUZZ_SEED=... repeats it.
"""

import contextlib
import json
import os
import random
import warnings

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from attention_unet.cli import main
from attention_unet.dataset.cases import Case, find_readable_cases
from attention_unet.dataset.inspection import inspect
from attention_unet.errors import DataError
from attention_unet.evaluation.evaluate import evaluate_cases
from attention_unet.inference.model_file import load_model
from attention_unet.inference.output_folder import claim_output
from attention_unet.inference.predict_files import predict_files
from attention_unet.inference.record import describe_predictions
from attention_unet.inference.settings import Settings
from attention_unet.scans.labels import Labels
from attention_unet.scans.volume_files import volumes_by_case
from tests.reliability.build import write_description
from tests.reliability.figures import tell

SEED = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(2**32)))
SIZES = [200, pytest.param(2000, marks=pytest.mark.long)]
KINDS = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"]
HEADER_FIELDS = ["datatype", "bitpix", "dim", "pixdim", "vox_offset", "scl_slope", "scl_inter", "xyzt_units",
                 "sform_code", "qform_code", "srow_x", "srow_z", "quatern_b", "qoffset_x", "magic", "sizeof_hdr",
                 "cal_max", "intent_code", "dim_info", "slice_code"]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 512, 2**15 - 1, -(2**15), 1e-30, 1e30, np.nan, np.inf, -np.inf, 0.5]


def fuzz(examples, **strategies):
    """Return a function that runs a check on random examples and prints the seed."""

    def run(check):
        print(f"FUZZ_SEED={SEED}")
        quiet = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        seed(SEED)(quiet(given(**strategies)(check)))()

    return run


ODD_SPACINGS = [(1.0, 1.0, 30.0), (0.01, 1.0, 1.0), (1e-5, 1.0, 1.0), (1.0, 1e4, 1.0), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)]


def plural(outcomes):
    return ", ".join(f"{number} {name}" for name, number in outcomes.items())


affines = st.builds(
    lambda angles, spacing, signs, order, shift, shear: _affine(angles, spacing, signs, order, shift, shear),
    st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    st.one_of(st.tuples(*[st.sampled_from([0.3, 0.9, 1.0, 2.5, 6.0])] * 3), st.sampled_from(ODD_SPACINGS)),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.sampled_from([0, 0, 0, 0.3]),
)


def _affine(angles, spacing, signs, order, shift, shear):
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ step
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(spacing))[:, order] * signs
    affine[0, 1] += shear * affine[0, 0]
    affine[:3, 3] = shift
    return affine


@st.composite
def images(draw):
    """Draw the bytes of a NIfTI file, mostly valid."""
    axes = draw(st.sampled_from([3, 3, 3, 3, 4, 2, 5]))
    edge = st.integers(1, 9)
    shape = [draw(edge) for _ in range(min(axes, 3))] + [draw(st.sampled_from([1, 1, 2]))] * (axes - 3)
    kind = draw(st.sampled_from(KINDS))
    values = np.random.RandomState(draw(st.integers(0, 99))).normal(
        100, draw(st.sampled_from([0, 30, 1e5])), size=shape
    )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = values.astype(kind)
    if kind.startswith("f") and draw(st.booleans()):
        array.ravel()[: draw(st.integers(0, 3))] = draw(st.sampled_from([np.nan, np.inf, 1e38]))
    affine = draw(affines)
    image = nib.Nifti1Image(array, None, nib.Nifti1Header(endianness=draw(st.sampled_from("<>"))), dtype=array.dtype)
    with contextlib.suppress(Exception):  # a qform holds no shear
        image.set_qform(affine, code=draw(st.sampled_from([0, 1, 2])))
    image.set_sform(affine, code=draw(st.sampled_from([0, 1, 1, 2])))
    image.header.set_xyzt_units(draw(st.sampled_from(["mm", "mm", "unknown", "micron", "meter"])))
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), endianness=image.header.endianness, check=False)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        field = draw(st.sampled_from(HEADER_FIELDS))
        if field != "magic":
            where = header[field] if header[field].ndim else header._structarr[field]
            with np.errstate(all="ignore"), contextlib.suppress(ValueError, OverflowError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                number = np.array(draw(st.sampled_from(NUMBERS))).astype(where.dtype)
                if where.ndim:
                    where[draw(st.integers(0, len(where) - 1))] = number
                else:
                    header._structarr[field] = number
        else:
            header._structarr["magic"] = draw(st.sampled_from([b"n+1", b"ni1", b"n+2", b""]))
    content[:348] = header.binaryblock
    return bytes(content)


@pytest.mark.parametrize("examples", SIZES)
def test_a_scan_is_predicted_on_its_own_grid_or_refused(model, tmp_path, examples):
    loaded, outcomes = load_model(model), {"predicted": 0, "refused": 0}
    write_description(tmp_path)
    scan, output = tmp_path / "imagesTr" / "a_0000.nii", tmp_path / "out"
    label = tmp_path / "labelsTr" / "a.nii.gz"
    for folder in (scan.parent, label.parent, output):
        folder.mkdir()
    case = Case("a", (scan,), label)
    description = describe_predictions([loaded], Settings(), [], output)

    def check(content):
        scan.write_bytes(content)
        claim_output(output, [case], description, [], resume=False, overwrite=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            failed = predict_files([case], output, [loaded], Settings(memory=2**28), lambda share: None)
        if failed:
            assert failed["a"].startswith(f"{scan}: "), failed  # not the name of an exception
            assert "Error: " not in failed["a"].replace("Compressed", ""), failed
            assert not (output / "a.nii.gz").exists()
            outcomes["refused"] += 1
            return
        given, made = nib.load(scan), nib.load(output / "a.nii.gz")
        assert made.shape == given.shape[:3]
        np.testing.assert_array_equal(made.affine, given.affine)
        for name in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "pixdim"):
            length = 4 if name == "pixdim" else None
            np.testing.assert_array_equal(made.header[name].ravel()[:length], given.header[name].ravel()[:length], name)
        assert set(np.unique(np.asarray(made.dataobj))) <= {0, 1}
        nib.save(made, label)
        facts = inspect(*find_readable_cases(tmp_path), {}, lambda: None).facts
        assert [fact.id for fact in facts] == ["a"]  # a predicted scan can be inspected
        outcomes["predicted"] += 1

    fuzz(examples, content=images())(check)
    tell("generated scans", f"{examples}: {plural(outcomes)} (FUZZ_SEED={SEED})")
    assert min(outcomes.values()) > examples / 10, "too few of one kind to tell anything"


@pytest.mark.parametrize("examples", SIZES)
def test_masks_are_scored_right_or_refused(tmp_path, examples):
    folders = {name: tmp_path / name for name in ("predictions", "references")}
    for folder in folders.values():
        folder.mkdir()
    labels = Labels({"one": (1,), "both": (2, 3)}, (1, 2))
    case = Case("a", (), folders["references"] / "a.nii.gz")
    kinds, outcomes = st.sampled_from(["u1", "i2", "f4", "f8", "u2", "i8"]), {"scored": 0, "refused": 0}

    def check(size, affine, other, values, kind, slope):
        for name, state in zip(folders, values, strict=True):
            array = np.random.RandomState(state).randint(0, 4, size=size).astype(kind)
            if state % 7 == 0:
                array[0, 0, 0] = np.array([state - 50]).astype(kind)[0]
            image = nib.Nifti1Image(array, other if name == "predictions" else affine, dtype=array.dtype)
            image.header.set_slope_inter(slope, slope and 0)
            nib.save(image, folders[name] / "a.nii.gz")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            summary, failed = evaluate_cases(
                [case], volumes_by_case(folders["predictions"]), tmp_path / "out", labels, tolerance_mm=1.0
            )
        if failed:
            assert f"{tmp_path}" in failed["a"]
            outcomes["refused"] += 1
            return
        predicted, true = (np.asarray(nib.load(folder / "a.nii.gz").dataobj).round() for folder in folders.values())
        for name, group in labels.integers.items():
            a, b = np.isin(predicted, group), np.isin(true, group)
            expected = 2 * (a & b).sum() / (a.sum() + b.sum()) if a.sum() + b.sum() else None
            found = summary.classes[name]["dice"].mean
            assert found is None if expected is None else found == pytest.approx(expected, abs=1e-6)
        outcomes["scored"] += 1

    same = st.shared(affines, key="affine")
    fuzz(
        examples,
        size=st.tuples(*[st.integers(1, 6)] * 3),
        affine=same,
        other=st.one_of(same, same, affines),
        values=st.tuples(st.integers(0, 99), st.integers(0, 99)),
        kind=kinds,
        slope=st.sampled_from([None, None, 1, 2, 0.5]),
    )(check)
    tell("generated masks", f"{examples}: {plural(outcomes)} (FUZZ_SEED={SEED})")
    assert min(outcomes.values()) > examples / 20


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-10, 10**9), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = {
    "data": ["folds", "fold", "spacing_mm", "patch", "patch_voxels", "foreground_share", "workers", "split_seed"],
    "augmentation": ["affine", "rotation_degrees", "scale", "shift", "bend", "noise", "flip_axes"],
    "network": ["dims", "base_channels", "max_channels", "max_levels", "block", "convs", "deep_supervision"],
    "attention": ["skips", "encoder", "bottleneck", "levels", "init"],
    "training": ["minutes", "steps", "batch", "learning_rate", "warmup", "average", "validations", "seed", "precision"],
}
configs = st.fixed_dictionaries(
    {},
    optional={
        section: st.one_of(
            st.dictionaries(st.one_of(st.sampled_from(names), st.text(max_size=6)), plain, max_size=3), plain
        )
        for section, names in FIELDS.items()
    },
)


@pytest.mark.parametrize("examples", [40, pytest.param(2000, marks=pytest.mark.long)])
def test_a_configuration_is_taken_or_refused_in_words(tmp_path, capsys, examples):
    file = tmp_path / "config.yaml"

    def check(config):
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        capsys.readouterr()
        code = main(["train", "--config", str(file), "--data.root", str(tmp_path / "nowhere"), "--run", str(tmp_path)])
        text = capsys.readouterr().err
        assert code == 2
        assert text.startswith("error: ")
        assert "Traceback" not in text

    fuzz(examples, config=configs)(check)
    tell("generated configurations", f"{examples}, each refused in words (FUZZ_SEED={SEED})")


@pytest.mark.parametrize("examples", SIZES)
def test_a_description_is_understood_or_refused_in_words(dataset, examples):
    original = json.loads((dataset / "dataset.json").read_text())
    outcomes = {"understood": 0, "refused": 0}

    def check(changes, text):
        (dataset / "dataset.json").write_text(json.dumps({**original, **changes}) + text)
        try:
            found, problems = find_readable_cases(dataset)
        except DataError as error:
            refused = str(error)
            assert str(dataset) in refused
            outcomes["refused"] += 1
            return
        assert len(found.cases) + len(problems) >= 1
        assert found.labels.names
        assert found.channels
        outcomes["understood"] += 1

    entry = st.one_of(plain, st.fixed_dictionaries({"image": st.text(max_size=9), "label": st.text(max_size=9)}))
    keys = ["labels", "channel_names", "modality", "numTraining", "regions_class_order", "file_ending", "name"]
    changes = st.dictionaries(st.sampled_from(keys), plain, max_size=2)
    listed = st.fixed_dictionaries({"training": st.one_of(plain, st.lists(entry, max_size=2))})
    fuzz(
        examples,
        changes=st.one_of(changes, changes, changes, listed),
        text=st.sampled_from(["", "", "", "\r\n", "}", "\0"]),
    )(check)
    tell("generated descriptions", f"{examples}: {plural(outcomes)} (FUZZ_SEED={SEED})")
    assert min(outcomes.values()) > examples / 20
