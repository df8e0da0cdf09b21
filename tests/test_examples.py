"""The examples in the docstrings of public names run."""

import doctest
import inspect
import sys

import numpy as np
import pytest
import torch

import attention_unet

SLOW = {"cross_validate"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in attention_unet.__all__]
)
def test_example(name, cohort, tmp_path, monkeypatch):
    (tmp_path / "phantoms").symlink_to(cohort.parent)
    monkeypatch.chdir(tmp_path)
    public = getattr(attention_unet, name)
    names = {**vars(sys.modules[public.__module__]), "np": np, "torch": torch, "load_model": attention_unet.load_model}
    names["read_volume"] = attention_unet.read_volume
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(public), names, name, None, None)
    assert example.examples
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example)
    assert runner.failures == 0
