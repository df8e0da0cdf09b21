"""Loading a model onto a device."""

import pytest
import torch

from attention_unet.errors import ModelError
from attention_unet.inference import model_file
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.network import AttentionUNet
from tests.inference.build import CPU, plan_of


def test_a_full_gpu_is_no_damaged_model(tmp_path, monkeypatch):
    def fill(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    plan = plan_of()
    save_model(tmp_path, AttentionUNet(plan.architecture).state_dict(), plan, {})
    monkeypatch.setattr(model_file, "place_network", fill)
    with pytest.raises(ModelError, match=r"model\.safetensors: the memory of cpu is full: close other programs"):
        load_model(tmp_path, CPU)
