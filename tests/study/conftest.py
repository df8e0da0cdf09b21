"""A small study on phantoms whose trainings are all finished."""

import pytest

from attention_unet.study.cells import run_cell
from attention_unet.study.finished import finished_record
from attention_unet.study.register import register
from tests.study.build import study


@pytest.fixture(scope="session")
def small(cohort):
    return study(cohort, run_seeds=[0], folds=[0], persons=[None, 3])


@pytest.fixture(scope="session")
def done(small, tmp_path_factory):
    """Return the folder of a study whose trainings are all finished."""
    folder = tmp_path_factory.mktemp("study")
    filled, registration = register(small, folder)
    for cell in filled.cells():
        assert not finished_record(registration, cell, folder)
        run_cell(filled, registration, cell, folder)
        assert finished_record(registration, cell, folder)
    return folder
