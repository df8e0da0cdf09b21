"""GPU benchmark: results beside those of the CPU, repeated steps, memory."""

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from gpu_rows import plan_of, row, seconds_in_turns, wait
from torch import Tensor

from attention_unet.attention.mechanisms import NAMES
from attention_unet.config import Config, TrainingConfig
from attention_unet.inference.model import Model
from attention_unet.inference.model_file import CPU
from attention_unet.inference.predict_volume import predict_volume
from attention_unet.inference.settings import Settings
from attention_unet.inference.window_predictor import place_network
from attention_unet.machine.devices import make_fabric
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.loading import Batch
from attention_unet.preparation.sizing import bytes_per_voxel
from attention_unet.scans.volumes import volume_of_image
from attention_unet.training.learner import Learner
from attention_unet.training.losses import SegmentationLoss
from attention_unet.training.trial import try_step

GRID = (24, 22, 26)
RANDOM = ("hard",)  # draws noise in training
LITTLE_MEMORY = 2.1 * 2**30  # bytes: less than a prediction of ``small_memory`` takes


def ground(device: torch.device, data: Path, quick: bool) -> None:
    """Measure what the device can do."""
    row("torch", torch.__version__)
    if device.type == "cuda":
        version = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]
        row("cuDNN", str(version), "not 90800 to 91499", not 90800 <= version < 91500)
    n = 512 if quick else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * n**3 / _seconds(lambda: a @ b, device)
    row("product of bfloat16 matrices", f"{rate / 1e12:.1f} TFLOP/s")
    source = torch.empty(2**20 if quick else 2**32, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    row("copy", f"{2 * len(source) / _seconds(lambda: target.copy_(source), device) / 1e12:.2f} TB/s")


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    return statistics.median(seconds_in_turns([work], device, 9)[0])


def agreement(device: torch.device, data: Path, quick: bool) -> None:
    """Compare logits and gradients of every mechanism with those of the CPU in float32."""
    torch.backends.cudnn.allow_tf32 = False
    settings = {name: {"skips": name} for name in NAMES} | {
        "residual blocks": {"block": "residual"},
        "se in encoder and decoder": {"encoder": "se", "decoder": "se"},
        "self at the bottleneck": {"bottleneck": "self"},
        "2-D gate": {"dims": 2},
    }
    for name, given in settings.items():
        try:
            _agree(name, Architecture(out_channels=3, channels=(16, 32, 64), **given), device)  # type: ignore[arg-type]
        except (RuntimeError, ValueError, TypeError) as error:
            row(name, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}", "", False)


def _agree(name: str, architecture: Architecture, device: torch.device) -> None:
    torch.manual_seed(0)
    network = AttentionUNet(architecture)
    grid = GRID[: architecture.dims]
    image, target = torch.randn(2, 1, *grid), torch.randint(0, 3, (2, 1, *grid), dtype=torch.uint8)
    network.train(name not in RANDOM)
    expected = _logits_and_gradients(network, image, target, torch.float32)
    exact = _logits_and_gradients(network, image, target, torch.float32, device)
    half = _logits_and_gradients(network, image, target, torch.bfloat16, device)
    half_here = _logits_and_gradients(network, image, target, torch.bfloat16)
    logits, gradients = (_distance(a, b) for a, b in zip(exact, expected, strict=True))
    coarse, coarse_gradients = (_distance(a, b) for a, b in zip(half, expected, strict=True))
    here, here_gradients = (_distance(a, b) for a, b in zip(half_here, expected, strict=True))
    ok = logits < 1e-4 and gradients < 2e-3 and coarse < max(3e-2, 1.5 * here)
    text = f"float32 {logits:.0e}, gradient {gradients:.0e}; bfloat16 {coarse:.0e}, gradient {coarse_gradients:.0e}"
    row(name, f"{text} (on the CPU {here:.0e}, {here_gradients:.0e})", "1e-4, 2e-3; 3e-2 or 1.5 x CPU", ok)


def _logits_and_gradients(
    network: AttentionUNet, image: Tensor, target: Tensor, precision: torch.dtype, device: torch.device = CPU
) -> tuple[Tensor, Tensor]:
    network = place_network(copy.deepcopy(network), device)
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        levels = network(image.to(device), full_output=True).logits
    SegmentationLoss(False)(levels, target.to(device)).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return levels[0].detach().float().cpu(), torch.cat([g.float().flatten().cpu() for g in gradients])


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def repeat(device: torch.device, data: Path, quick: bool) -> None:
    """Train twice from the same weights. Compare the weights bit by bit."""
    patch, channels = ((16, 16, 16), (8, 16)) if quick else ((40, 56, 40), (32, 64, 128, 256))
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.backends.cudnn.deterministic = deterministic
        for skips in ("identity", "gate", "se", "self", "deformable"):
            a, b = (_train(Architecture(out_channels=3, channels=channels, skips=skips), patch, device) for _ in "ab")
            different = sum(bool((p != q).any()) for p, q in zip(a, b, strict=True))
            setting = "deterministic" if deterministic else "as it is"
            row(f"{skips}, {setting}", f"{different} of {len(a)} tensors differ after 8 steps", "0", different == 0)


def _train(architecture: Architecture, patch: tuple[int, ...], device: torch.device, steps: int = 8) -> list[Tensor]:
    learner = new_learner(architecture, device)
    for step in range(steps):
        torch.manual_seed(step)
        image = torch.randn(2, 1, *patch).to(device)
        learner.learn(Batch(image, (image > 0.5).to(torch.uint8)), 1e-3)
    return [p.detach().cpu() for p in learner.network.parameters()]


def new_learner(architecture: Architecture, device: torch.device) -> Learner:
    """Return a learner as trainings have it, with the same weights at each call."""
    torch.manual_seed(0)
    config = TrainingConfig(accelerator=device.type)  # type: ignore[arg-type]
    return Learner(AttentionUNet(architecture), config, make_fabric(config), False)


def memory(device: torch.device, data: Path, quick: bool) -> None:
    """Measure the memory of a training step beside the plan's estimate."""
    edges, channels = ((16, 24), 8) if quick else ((64, 96, 128), 32)
    kinds: dict[str, dict[str, Any]] = {
        "gate": {},
        "residual blocks": {"block": "residual"},
        "se everywhere": {"skips": "se", "encoder": "se", "decoder": "se"},
        "105 classes": {"out_channels": 105},
    }
    for name, given in kinds.items():
        for edge in edges:
            widths = [min(channels * 2**i, 320) for i in range(3 if quick else 5)]
            options: dict[str, Any] = {"out_channels": 3, "channels": widths, "decoder_convs": 1} | given
            plan = plan_of(Architecture(**options), (edge, edge, edge), 2)
            config = Config(training=TrainingConfig(accelerator=device.type))  # type: ignore[arg-type]
            trial = try_step(config, plan)
            each = (trial.bytes or 0) / (2 * edge**3 * channels)
            expected = bytes_per_voxel(channels, plan.architecture.out_channels, fast=True) / channels
            text = f"{(trial.bytes or 0) / 2**30:.2f} GiB, {each:.1f} bytes per voxel and channel"
            row(
                f"{name}, 2 x {edge}^3",
                f"{text}; {1e3 * trial.seconds:.0f} ms",
                f"{expected:.0f} bytes",
                None if trial.bytes is None else each <= expected,
            )


def small_memory(device: torch.device, data: Path, quick: bool) -> None:
    """Predict a large scan on a card with little memory: the same label map."""
    torch.manual_seed(0)
    network = AttentionUNet(Architecture(out_channels=21, channels=(32, 64, 128, 256), decoder_convs=1)).eval()
    plan = plan_of(network.architecture, (32, 32, 32) if quick else (96, 96, 96), 2)
    grid = (48, 48, 40) if quick else (384, 384, 160)
    noise = np.random.default_rng(0).normal(400, 60, size=grid).astype(np.int16)
    volume = volume_of_image(nib.Nifti1Image(noise, np.eye(4)))
    maps = []
    whole = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 2**36
    for share in (1.0, LITTLE_MEMORY / whole):
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(share)
            torch.cuda.reset_peak_memory_stats()
        model = Model(place_network(copy.deepcopy(network), device), plan, device)
        try:
            maps.append(predict_volume([model], volume, Settings()).label_map)
        except RuntimeError as error:
            row(f"share {share:.3f}", str(error).splitlines()[0][:120], "", False)
            return
        wait(device)
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
        row(f"{grid}, 20 classes, {share:.1%} of the card", f"{peak:.2f} GiB at most")
    different = float((maps[0] != maps[1]).mean())
    row("share of voxels that differ", f"{different:.1e}", "1e-4", different < 1e-4)
