import csv
import gc
import itertools
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from attention_unet.cli import main
from attention_unet.dataset.phantom import make_cohort
from attention_unet.evaluation import example_cases
from attention_unet.explanation import checks, deletion_curve, findings
from attention_unet.training.monitor import Monitor

THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2  # one core per xdist worker
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # for subprocesses
REPOSITORY = Path(__file__).parents[1]
DRAW = Monitor._draw
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SMALL = shlex.split("""
    --data.folds 4 --data.patch [24,24,12] --data.spacing_mm [2.5,2.5,3] --data.foreground_share 0.6
    --network.base_channels 8 --network.max_levels 3 --augmentation.affine 0 --augmentation.low_resolution 0
    --training.batch 4 --training.steps 120 --training.validations 1 --training.learning_rate 0.01
    --training.average 0.9
""")


def pytest_collection_finish():
    """Let no collection of garbage search what stays: the modules and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape output that is not UTF-8, so that xdist workers can report it."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session", autouse=True)
def without_pictures() -> Iterator[None]:
    """Save the time of pictures, half of a small training. Tests of pictures set ``Monitor._draw`` to ``DRAW``, and
    ``draw_mosaic`` of the module to that of ``mosaic``.
    """

    def draw_nothing(*_: object) -> Figure:
        return Figure(figsize=(0.1, 0.1))

    with (
        mock.patch.object(Monitor, "_draw"),
        mock.patch.object(example_cases, "draw_mosaic", draw_nothing),
    ):
        yield


@pytest.fixture(scope="module")
def few_deletions() -> Iterator[None]:
    """Delete voxels once instead of four times in the checks of attention: they take most of their time."""
    with ExitStack() as stack:
        for module in (checks, deletion_curve, findings):
            stack.enter_context(mock.patch.object(module, "SHARES", (0.0, 0.3)))
        yield


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of eight training and two test phantoms."""
    return make_cohort(tmp_path_factory.mktemp("cohort"), 8, 2, seed=1, done=lambda: None)


@pytest.fixture(scope="session")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a short training."""
    folder = tmp_path_factory.mktemp("runs") / "phantom"
    assert main(["train", "--data.root", str(cohort), "--run", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real datasets; skip the test if it is missing."""
    folder = Path(os.environ.get("ATTENTION_UNET_DATA", REPOSITORY.parent / "shared" / "datasets"))
    if not (folder / "Task04_Hippocampus" / "dataset.json").is_file():
        pytest.skip(f"no real data in {folder}: set ATTENTION_UNET_DATA to where Task04_Hippocampus lies")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Return a browser; skip the test if there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next((path for name in (*BROWSERS, own) if (path := shutil.which(name))), None)
        if found is None:
            pytest.skip("no browser to look at the report with: install Chromium, or run 'playwright install chromium'")
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def oblique_affine(spacing=(0.9, 1.3, 2.5), degrees=11.0, axes=(0, 1, 2), signs=(1, 1, 1), shift=(-20.0, 7.5, 3.0)):
    """Return a rotated, anisotropic affine with permuted and flipped axes."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = ((turn @ np.diag(spacing))[:, list(axes)]) * np.array(signs)
    affine[:3, 3] = shift
    return affine


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    nib.save(image, path)
    return path


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def wait_until(condition, process=None, seconds=60):
    """Wait until a condition is true; the process, if one is given, must run until then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def positions_mm(grid, affine):
    """Return the position of each voxel of a grid, (*grid, 3)."""
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), axis=-1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def affine_of(scan_grid, scan):
    """Return the 4 x 4 voxel-to-mm affine of a network's grid, given that of the scan."""
    local = np.zeros((4, 4))
    local[3, 3] = 1.0
    for axis, source in enumerate(scan_grid.order):
        first = scan_grid.start[axis] * scan_grid.step[axis]
        flipped = scan_grid.flipped[axis]
        local[source, axis] = -scan_grid.step[axis] if flipped else scan_grid.step[axis]
        local[source, 3] = scan_grid.scan[axis] - 1 - first if flipped else first
    return scan @ local
