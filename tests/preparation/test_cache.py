import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from attention_unet.config import DataConfig
from attention_unet.dataset.cases import Case
from attention_unet.dataset.find_dataset import find_dataset
from attention_unet.dataset.inspection import check_trainable, warnings_about
from attention_unet.errors import DataError
from attention_unet.machine import processes
from attention_unet.preparation import cache as cache_module
from attention_unet.preparation.cache import CachedCases, CaseCache, class_locations
from attention_unet.preparation.preprocessing import Preprocessing
from attention_unet.scans.labels import Labels
from tests.conftest import save_nifti

PLAIN = Preprocessing((1.0, 1.0, 1.0), nonzero=False)
LABELS = Labels({"a": (1,), "b": (4,)}, (1, 4))


def case_of(folder, name="x", label=None):
    image = np.random.RandomState(0).normal(size=(6, 7, 8)).astype(np.float32)
    label = np.zeros((6, 7, 8), dtype=np.uint8) if label is None else label
    paths = save_nifti(folder / f"{name}.nii.gz", image), save_nifti(folder / f"{name}_label.nii.gz", label)
    return Case(name, (paths[0],), paths[1])


@pytest.fixture
def case(tmp_path):
    return case_of(tmp_path)


@pytest.fixture
def cache(tmp_path):
    return CaseCache(tmp_path / "cache", PLAIN, LABELS, 1)


def test_classes_in_another_order_are_prepared_anew(tmp_path):
    regions = [("whole", (1, 2)), ("core", (2,))]
    folders = {CaseCache(tmp_path, PLAIN, Labels(dict(of), (2, 1)), 1).folder for of in (regions, regions[::-1])}
    assert len(folders) == 2


def test_cases_are_prepared_once_and_again_when_they_change(tmp_path, cache, monkeypatch):
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[2, 3, 4], label[5, 5, 5] = 1, 4
    case = case_of(tmp_path, label=label)
    stored = []
    original = CaseCache._store
    monkeypatch.setattr(CaseCache, "_store", lambda self, c: (stored.append(c.id), original(self, c)))
    cache.add([case], lambda: None)
    cache.add([case], lambda: None)
    assert stored == ["x"]
    loaded = cache.open([case])[0]
    assert loaded.image.shape == (1, 6, 7, 8)
    np.testing.assert_array_equal(np.argwhere(loaded.target[0]), [[2, 3, 4], [5, 5, 5]])
    assert loaded.target[0, 5, 5, 5] == 2  # the class, not the integer of the file
    np.testing.assert_array_equal(loaded.locations, [[0, 2, 3, 4], [1, 5, 5, 5]])
    case_of(tmp_path, label=label * 0)
    cache.add([case], lambda: None)
    assert stored == ["x", "x"]
    assert len(cache.open([case])[0].locations) == 0


def test_a_case_is_prepared_again_when_the_data_file_of_a_header_changes(tmp_path, case, cache):
    header = tmp_path / "x.mhd"
    sitk.WriteImage(sitk.ReadImage(case.images[0]), header)
    case = dataclasses.replace(case, images=(header,))
    cache.add([case], lambda: None)
    before = cache.open([case])[0].image
    data = tmp_path / "x.raw"
    data.write_bytes(np.frombuffer(data.read_bytes(), np.float32)[::-1].tobytes())
    cache.add([case], lambda: None)
    np.testing.assert_allclose(cache.open([case])[0].image, before[:, ::-1, ::-1, ::-1], atol=1e-6)


def test_several_processes_prepare_the_same_files(tmp_path, monkeypatch):
    odd = np.full((6, 7, 8), 3, dtype=np.uint8)
    cases = [*(case_of(tmp_path, f"c{i}") for i in range(3)), case_of(tmp_path, "odd", odd)]
    one, several = CaseCache(tmp_path / "one", PLAIN, LABELS, 1), CaseCache(tmp_path / "several", PLAIN, LABELS, 1)
    here = []
    original = CaseCache._store
    monkeypatch.setattr(CaseCache, "_store", lambda self, c: (here.append(c.id), original(self, c)))
    with pytest.raises(DataError, match="odd_label"):
        one.add(cases, lambda: None)
    assert here == ["c0", "c1", "c2", "odd"]
    monkeypatch.setattr(processes, "WORTH", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.raises(DataError, match="odd_label"):
        several.add(cases, lambda: None)
    assert here == ["c0", "c1", "c2", "odd", "c0"]  # the others in other processes
    written = [{file.name: file.read_bytes() for file in cache.folder.iterdir()} for cache in (one, several)]
    assert written[0] == written[1]
    assert len(written[0]) == 3


def test_every_problem_is_listed(tmp_path):
    odd = np.full((6, 7, 8), 3, dtype=np.uint8)
    cases = [case_of(tmp_path, "p", odd), case_of(tmp_path, "q"), case_of(tmp_path, "r", odd)]
    with pytest.raises(DataError, match=r"(?s)p_label.*holds the labels \[3\].*a \[1\], b \[4\].*r_label"):
        CaseCache(tmp_path / "cache", PLAIN, LABELS, 1).add(cases, lambda: None)


def test_locations_are_thinned_evenly():
    target = np.zeros((1, 30, 30, 30), dtype=np.uint8)
    target[0, :20] = 1
    rows = class_locations(target, LABELS)
    assert len(rows) == 5000
    assert set(rows[:, 0]) == {0}
    assert rows[:, 1].max() == 19
    assert rows[:, 1].min() == 0


def test_another_preprocessing_is_another_folder(tmp_path):
    other = CaseCache(tmp_path, Preprocessing((2.0, 1.0, 1.0), False), LABELS, 1)
    assert CaseCache(tmp_path, PLAIN, LABELS, 1).folder != other.folder


def test_a_cohort_is_prepared_on_patient_axes(cohort, tmp_path):
    dataset = find_dataset(DataConfig(root=str(cohort)))
    cache = CaseCache(tmp_path, Preprocessing((1.5, 1.5, 2.5), nonzero=False), dataset.labels, 1)
    done = []
    cache.add(dataset.cases, lambda: done.append(1))
    assert len(done) == len(dataset.cases)
    for case in dataset.cases:
        target = cache.open([case])[0].target[0]
        nucleus, ventricle = np.argwhere(target == 2), np.argwhere(target == 1)
        assert nucleus[:, 2].mean() < ventricle[:, 2].mean()  # nuclei are below the ventricles in every patient


def test_thousands_of_cases_hold_no_files_open(case, cache):
    cache.add([case], lambda: None)
    file = next(cache.folder.iterdir())
    copies = [file.with_name(f"{i}.safetensors") for i in range(2000)]
    for copy in copies:
        copy.hardlink_to(file)
    before = open_files()
    total = sum(float(opened.image[0, 0, 0, 0]) for opened in CachedCases([(copy.stem, copy) for copy in copies]))
    assert np.isfinite(total)
    assert open_files() <= before + 2


def open_files():
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_a_file_that_changes_while_it_is_read_is_told_and_prepared_again(tmp_path, case, cache, monkeypatch):
    read = cache_module.read_case

    def read_before_a_change(*arguments):
        found = read(*arguments)
        case_of(tmp_path, label=np.ones((6, 7, 8), dtype=np.uint8))
        return found

    monkeypatch.setattr(cache_module, "read_case", read_before_a_change)
    with pytest.raises(DataError, match="x: one of its files changed while it was read: repeat the command"):
        cache.add([case], lambda: None)
    monkeypatch.undo()
    cache.add([case], lambda: None)
    assert cache.open([case])[0].target.all()


def test_a_case_that_is_gone_is_named(case, cache):
    with pytest.raises(DataError, match="the preprocessed case x cannot be read"):
        cache.facts([case])


def test_another_number_of_channels_is_named(tmp_path, case, cache):
    cache.add([case], lambda: None)
    with pytest.raises(DataError, match=r"x\.nii\.gz: has 1 channel, the dataset 2: must agree"):
        CaseCache(tmp_path / "cache", PLAIN, LABELS, 2).add([case], lambda: None)


def test_the_same_files_under_another_name_are_another_case(case, cache):
    other = Case("other", case.images, case.label)
    cache.add([case, other], lambda: None)
    assert [fact.id for fact in cache.facts([case, other])] == ["x", "other"]


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path, cache):
    """As by cp -p, rsync -t or tar: the content changes, and the modification time is restored."""
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[2, 3, 4], label[5, 5, 5] = 1, 4
    image = save_nifti(tmp_path / "x.nii", np.random.RandomState(0).normal(size=(6, 7, 8)).astype(np.float32))
    case = Case("x", (image,), save_nifti(tmp_path / "x_label.nii", label))
    cache.add([case], lambda: None)
    before = case.label.stat()
    swapped = np.where(label == 1, 4, np.where(label == 4, 1, 0)).astype(np.uint8)
    save_nifti(case.label, swapped)
    os.utime(case.label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (case.label.stat().st_size, case.label.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    cache.add([case], lambda: None)
    assert cache.open([case])[0].target[0, 2, 3, 4] == 2
    assert cache.facts([case])[0].label_digest


def test_classes_that_vanish_on_the_networks_grid_are_known(tmp_path):
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[:3], label[5, 5, 5] = 1, 4
    coarse = CaseCache(tmp_path / "cache", Preprocessing((3.0, 3.0, 3.0), nonzero=False), LABELS, 1)
    case = case_of(tmp_path, label=label)
    coarse.add([case], lambda: None)
    (facts,) = coarse.facts([case])
    assert facts.lost == ("b",)
    assert "x: b vanishes on the network's grid: too small for the voxels of the plan" in warnings_about([facts], "ab")
    with pytest.raises(DataError, match="the class b has no voxel on the network's grid in any case: set a smaller"):
        check_trainable([facts], [], ["a", "b"])


def test_a_case_that_is_too_large_on_the_networks_grid_is_named(case, cache, monkeypatch):
    monkeypatch.setattr(cache_module, "free_memory", lambda: 4 * 6 * 7 * 8 - 1)
    with pytest.raises(DataError, match=r"x\.nii\.gz: has 6 x 7 x 8 voxels of 1 x 1 x 1 mm, .* check its voxel size"):
        cache.add([case], lambda: None)


def test_names_in_another_encoding(tmp_path, cache):
    case = case_of(tmp_path, os.fsdecode(b"b\xff"))
    cache.add([dataclasses.replace(case, id="b")], lambda: None)
    assert len(cache.open([dataclasses.replace(case, id="b")])) == 1


def test_a_case_that_annotates_other_classes_is_prepared_anew(case, cache):
    for unannotated, annotated in ((("b",), [True, False]), ((), [True, True])):
        changed = dataclasses.replace(case, unannotated=unannotated)
        cache.add([changed], lambda: None)
        assert cache.open([changed])[0].annotated_classes.tolist() == annotated


def test_regions_are_added_to_a_cache_without_them(tmp_path, case):
    for with_regions in (False, True):
        cache = CaseCache(tmp_path / "cache", PLAIN, LABELS, 1, with_regions)
        cache.add([case], lambda: None)
        assert (cache.open([case])[0].regions.size > 0) == with_regions
