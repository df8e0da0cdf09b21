"""Model files: what they need, and what they do not."""

import dataclasses
import subprocess
import sys

import pytest

from attention_unet.attention import MECHANISMS
from attention_unet.errors import ModelError
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.network import AttentionUNet
from tests.inference.build import plan_of


def test_a_model_whose_mechanism_is_not_installed_says_so(tmp_path, monkeypatch):
    """It is not damaged: the package that adds the mechanism lacks."""
    plan = dataclasses.replace(plan_of(), architecture=dataclasses.replace(plan_of().architecture, skips="elsewhere"))
    with monkeypatch.context() as installed:
        installed.setitem(MECHANISMS, "elsewhere", MECHANISMS["sse"])
        save_model(tmp_path, AttentionUNet(plan.architecture).state_dict(), plan, {})
        assert load_model(tmp_path).plan == plan
    with pytest.raises(ModelError, match=r"cannot be built here \(.*called 'elsewhere'.*\): install the package"):
        load_model(tmp_path)


def test_a_model_is_read_without_the_compiler_of_torch():
    """Its import takes two seconds."""
    code = (
        "import sys; from attention_unet import load_model; load_model('hippocampus'); "
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
