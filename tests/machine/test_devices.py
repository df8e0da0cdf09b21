import pytest
import torch

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine import devices
from attention_unet.machine.devices import choose_device, choose_precision, devices_and_nodes, make_fabric, this_machine

CPU = torch.device("cpu")


def test_precision_by_name():
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("avx512", "amx", "amd", "expected"),
    [
        (True, False, True, torch.bfloat16),
        (True, False, False, torch.float32),
        (True, True, False, torch.bfloat16),
        (False, False, True, torch.float32),
    ],
)
def test_processors_that_are_faster_in_bfloat16_use_it(monkeypatch, avx512, amx, amd, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(devices, "made_by_amd", lambda: amd)
    assert choose_precision("auto", CPU) == expected


@pytest.mark.parametrize(("vendor", "expected"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_maker_of_the_processor(monkeypatch, tmp_path, vendor, expected):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nvendor_id : {vendor}\n")
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path / "cpuinfo")
    assert devices.made_by_amd() == expected


def test_devices():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="the device tpu is not available"):
        choose_device("tpu")


def test_under_torchrun_processes_are_those_that_it_started(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"training\.batch is 6: expected a multiple of the 4 processes"):
        make_fabric(TrainingConfig(batch=6, devices=1, accelerator="cpu"))
    assert devices_and_nodes(TrainingConfig(devices=1)) == (2, 2)
    assert this_machine(TrainingConfig(accelerator="cpu")).processes == 4
