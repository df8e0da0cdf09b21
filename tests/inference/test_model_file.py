"""Model files: found by path or name, read, refused if damaged, loaded onto a device."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as save_tensors

from attention_unet.errors import ConfigError, ModelError
from attention_unet.inference import model_file
from attention_unet.inference.model_file import digest, find_model, load_model, load_models, save_model
from attention_unet.network import AttentionUNet
from tests.inference.build import CPU, plan_of, saved_model


def test_model_round_trip(tmp_path):
    network, plan = saved_model(tmp_path)
    model = load_model(tmp_path, CPU)
    x = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(model.network(x), network(x))
    assert model.plan == plan


def test_loading_draws_none_of_the_random_numbers_of_the_caller(tmp_path):
    saved_model(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load_model(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_is_one_file_and_its_description_is_for_people(tmp_path):
    saved_model(tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert set(description) == {"format", "plan", "sha256", "versions"}
    (tmp_path / "model.json").unlink()
    assert load_model(tmp_path / "model.safetensors", CPU).sha256 == description["sha256"]


def test_a_shipped_model_is_found_by_its_name_unless_one_lies_there(tmp_path, monkeypatch):
    saved_model(tmp_path / "run")
    monkeypatch.setattr(model_file, "SHIPPED", tmp_path / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "run" / "model.safetensors").rename(tmp_path / "models" / "knee.safetensors")
    monkeypatch.chdir(tmp_path)
    assert [model.plan for model in load_models(["knee"], CPU)] == [plan_of()]
    with pytest.raises(ModelError, match=r"hip: holds no model: .* one of the package's models: knee"):
        load_model("hip", CPU)
    saved_model(tmp_path / "folds" / "fold3")
    with pytest.raises(ModelError, match="folds: holds 1 model: name one of them, such as folds/fold3"):
        load_model("folds", CPU)
    (tmp_path / "knee").mkdir()
    assert find_model("knee") == tmp_path / "models" / "knee.safetensors"
    saved_model(tmp_path / "knee")
    assert find_model("knee") == Path("knee/model.safetensors")


def test_damaged_models_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="holds no model"):
        load_model(tmp_path, CPU)
    network, plan = saved_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    good = weights.read_bytes()
    for content, message in (
        (good[:-1] + bytes([good[-1] ^ 1]), "sha256 differs"),
        (good[: len(good) // 2], "not a model that a training wrote, or damaged"),
        (b"", "not a model that a training wrote, or damaged"),
        (good.replace(b'\\"format\\": 4', b'\\"format\\": 9'), "is of format 9: this version reads 4"),
        (good.replace(b'\\"nonzero\\": false', b'\\"nonzero\\": true '), "is damaged, or was changed"),
    ):
        weights.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path, CPU)
    lost = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    next(iter(lost.values())).view(-1)[0] = float("nan")
    save_model(tmp_path, lost, plan, {})
    with pytest.raises(ModelError, match="some of its weights are NaN or infinite: train it again"):
        load_model(tmp_path, CPU)
    other = dataclasses.replace(plan, architecture=dataclasses.replace(plan.architecture, channels=[4, 6, 10]))
    save_model(tmp_path, network.state_dict(), other, {})
    with pytest.raises(ModelError, match="here: install the package that adds its attention, as in the training"):
        load_model(tmp_path, CPU)
    monkeypatch.setattr(model_file, "versions", lambda: {"torch": "2.13.0", "mine-attention": "1.0"})
    save_model(tmp_path, network.state_dict(), other, {})
    with pytest.raises(ModelError, match=r"other weights than its network has here: install mine-attention 1\.0"):
        load_model(tmp_path, CPU)


def test_no_byte_of_a_model_changes_unnoticed(tmp_path):
    saved_model(tmp_path)
    path = tmp_path / "model.safetensors"
    good, same = path.read_bytes(), load_model(tmp_path)
    for place in range(0, len(good), max(len(good) // 400, 1)):
        flipped = bytearray(good)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            model = load_model(tmp_path)
        except ModelError:
            continue
        assert (model.plan, model.sha256) == (same.plan, same.sha256)  # a space between two words is nothing of it


def test_what_a_hostile_description_says_takes_no_memory_and_raises_nothing_else(tmp_path):
    saved_model(tmp_path)
    file = tmp_path / "model.safetensors"
    with safe_open(file, framework="pt") as content:
        described = json.loads(content.metadata()["description"])
        tensors = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118  # not mapped
    wide = {
        **described["plan"]["architecture"],
        "channels": [60_000] * len(described["plan"]["architecture"]["channels"]),
    }
    for changes in (
        {"plan": {**described["plan"], "architecture": wide}},
        {"plan": {**described["plan"], "batch": float("inf")}},
        {"plan": {**described["plan"], "patch": [float("inf"), 1, 1]}},
        {"plan": {**described["plan"], "architecture": 5}},
        {"plan": 5},
        {"component_gains": 5},
        {"component_gains": {"a": [1]}},
        {"trained_on": 5},
    ):
        changed = {**described, **changes}
        changed["sha256"] = digest(tensors, changed)
        file.write_bytes(save_tensors(tensors, metadata={"description": json.dumps(changed)}))
        with pytest.raises(ModelError, match=r"holds other weights|not a model that a training wrote"):
            load_model(tmp_path)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(ModelError, match="holds no model"):
        load_model(name)


def test_a_full_gpu_is_no_damaged_model(tmp_path, monkeypatch):
    def fill(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    plan = plan_of()
    save_model(tmp_path, AttentionUNet(plan.architecture).state_dict(), plan, {})
    monkeypatch.setattr(model_file, "place_network", fill)
    with pytest.raises(ModelError, match=r"model\.safetensors: the memory of cpu is full: close other programs"):
        load_model(tmp_path, CPU)


def test_a_device_by_name(tmp_path):
    saved_model(tmp_path)
    assert load_model(tmp_path, "cpu").device == CPU
    with pytest.raises(ConfigError, match="the device tpu is not available"):
        load_model(tmp_path, "tpu")
