import shutil
from pathlib import Path

import pytest

from attention_unet.cli import main
from tests.reliability.build import SMALL, make_dataset
from tests.reliability.figures import FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if FIGURES:
        terminalreporter.section("reliability")
        for name, text in sorted(FIGURES.items()):
            terminalreporter.write_line(f"{name}: {text}")


@pytest.fixture(scope="session")
def good_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("reliability") / "data")


@pytest.fixture(scope="session")
def model(good_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two steps: enough for predictions."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", f"--data.root={good_dataset}", f"--run={folder}", *SMALL]) == 0
    return folder


@pytest.fixture
def dataset(good_dataset: Path, tmp_path: Path) -> Path:
    """Return a copy of the dataset, which a test may break."""
    return shutil.copytree(good_dataset, tmp_path / "data")
