import shutil
from pathlib import Path

import pytest

from attention_unet.cli import main
from tests.reliability.build import SMALL, make_dataset
from tests.reliability.figures import FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was counted."""
    if FIGURES:
        terminalreporter.section("reliability")
        for name, text in sorted(FIGURES.items()):
            terminalreporter.write_line(f"{name}: {text}")


@pytest.fixture(scope="session")
def good_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("reliability") / "data")


@pytest.fixture(scope="session")
def model(good_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, which is enough to predict with."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", f"--data.root={good_dataset}", f"--run={folder}", *SMALL]) == 0
    return folder


@pytest.fixture
def dataset(good_dataset: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return shutil.copytree(good_dataset, tmp_path / "data")
