import os
import warnings

import pytest
import torch

from attention_unet.config import TrainingConfig
from attention_unet.errors import ConfigError
from attention_unet.machine import devices
from attention_unet.machine.devices import (
    choose_device,
    choose_precision,
    devices_and_nodes,
    make_fabric,
    repeatable,
    this_machine,
)

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


@pytest.fixture
def card(monkeypatch):
    """Pretend that there is a card. Return what its first operation raises, a list to add to."""
    errors = []

    class Values:
        def add_(self, value):
            if errors:
                raise RuntimeError(errors[0])
            return self

        def item(self):
            return 1.0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setattr(torch, "zeros", lambda *sizes, device: Values())
    devices._try_cuda.cache_clear()
    yield errors
    devices._try_cuda.cache_clear()


def test_a_card_that_works_is_taken(card, monkeypatch):
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    machine = this_machine(TrainingConfig())
    assert (machine.memory, machine.fast) == (4 * 2**30, False)  # what is free, and what this process holds


def test_a_card_that_torch_cannot_use_is_left(card, caplog):
    card.append("CUDA error: no kernel image is available for execution on the device\nmore")
    assert choose_device("auto") == CPU
    assert "cuda does not work, the CPU is used: CUDA error: no kernel image is available" in caplog.text
    with pytest.raises(ConfigError, match="the device cuda does not work: CUDA error: no kernel image"):
        choose_device("cuda")


def test_a_cudnn_that_torch_refuses_is_told(card, monkeypatch):
    def refuse():
        raise RuntimeError("cuDNN version incompatibility: PyTorch was compiled against 9.10")

    monkeypatch.setattr(torch.backends.cudnn, "version", refuse)
    with pytest.raises(ConfigError, match="the device cuda does not work: cuDNN version incompatibility"):
        choose_device("cuda")


@pytest.mark.parametrize(("version", "warned"), [(None, False), (90701, False), (91002, True), (91500, False)])
def test_a_cudnn_that_torch_avoids_is_warned_of(card, monkeypatch, caplog, version, warned):
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: version)
    choose_device("auto")
    assert ("install nvidia-cudnn 9.15 or later" in caplog.text) == warned


def test_mps_is_only_taken_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    assert choose_device("mps").type == "mps"


def test_only_a_gpu_is_made_repeatable(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for device, wanted, expected in ((CPU, True, False), (torch.device("cuda"), False, False)):
        with repeatable(device, wanted):
            assert torch.are_deterministic_algorithms_enabled() == expected
    with repeatable(torch.device("cuda"), True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_under_torchrun_processes_are_those_that_it_started(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"training\.batch is 6: expected a multiple of the 4 processes"):
        make_fabric(TrainingConfig(batch=6, devices=1, accelerator="cpu"))
    assert devices_and_nodes(TrainingConfig(devices=1)) == (2, 2)
    assert this_machine(TrainingConfig(accelerator="cpu")).processes == 4


def test_a_machine_with_slurm_is_no_reason_for_a_warning(tmp_path, monkeypatch):
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_fabric(TrainingConfig(accelerator="cpu"))
    assert not caught


def test_a_process_that_slurm_started_alone_starts_the_others(monkeypatch):
    job = {
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_JOB_NAME": "mine",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert make_fabric(TrainingConfig(devices=2, accelerator="cpu")).world_size == 2


@pytest.mark.parametrize("problem", ["CUDA-capable device(s) is/are busy or unavailable", "CUDA out of memory"])
def test_a_card_that_others_hold_is_no_reason_to_train_on_the_cpu(card, problem):
    card.append(problem)
    with pytest.raises(ConfigError, match=r"the device cuda does not work: .*: wait, end other programs on it"):
        choose_device("auto")


def test_a_card_is_taken_once_others_no_longer_hold_it(card):
    card.append("CUDA out of memory")
    with pytest.raises(ConfigError):
        choose_device("auto")
    card.clear()
    assert choose_device("auto") == torch.device("cuda")
