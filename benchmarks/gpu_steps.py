"""GPU benchmark: the time of a training step beside other networks, and where it goes."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gpu_checks import new_learner
from gpu_rows import row, seconds_in_turns, spread
from peers import has_nnunet, monai_attention_unet, nnunet_plain, training_step
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from attention_unet.inference.window_predictor import place_network
from attention_unet.machine.devices import repeatable
from attention_unet.network import Architecture, AttentionUNet
from attention_unet.preparation.loading import Batch

Step = Callable[[], object]


def steps(device: torch.device, data: Path, quick: bool) -> None:
    """Time steps of our network and of others in turns."""
    sizes = [((16, 16, 16), 2, 2)] if quick else [((128, 128, 128), 2, 6), ((40, 56, 40), 11, 4)]
    for patch, batch, levels in sizes:
        widths = [min(32 * 2**i, 320) for i in range(levels)]
        image = torch.randn(batch, 1, *patch, device=device)
        target = torch.randint(0, 3, (batch, 1, *patch), dtype=torch.uint8, device=device)
        ours = Architecture(out_channels=3, channels=widths, decoder_convs=1)
        works: dict[str, Step] = {
            "ours": _ours(ours, image, target, device),
            "ours, two decoder convolutions": _ours(
                Architecture(out_channels=3, channels=widths, decoder_convs=2), image, target, device
            ),
            "MONAI AttentionUnet, bfloat16": training_step(
                monai_attention_unet(widths, 1, 3), image, target, torch.bfloat16
            ),
        }
        if has_nnunet():
            theirs = training_step(nnunet_plain(widths, 1, 3), image, target, torch.bfloat16)
            works |= {"nnU-Net's network, bfloat16": theirs, "nnU-Net's network, bfloat16, tuned": _tuned(theirs)}
        works["ours, tuned"] = _tuned(_ours(ours, image, target, device))
        works["ours, with repeatable bits"] = _repeatable(works["ours"], device)
        taken = seconds_in_turns(list(works.values()), device, 3 if quick else 15)
        size = f"{batch} x {' x '.join(map(str, patch))}"
        for (name, work), seconds in zip(works.items(), taken, strict=True):
            with FlopCounterMode(display=False) as counter:
                work()
            rate = counter.get_total_flops() / sorted(seconds)[len(seconds) // 2]
            row(f"{name}, {size}", f"{spread(seconds)}, {rate / 1e12:.0f} TFLOP/s")


def _tuned(step: Step) -> Step:
    """Let cuDNN try its algorithms at the first step of each shape."""

    def tuned() -> None:
        torch.backends.cudnn.benchmark = True
        step()
        torch.backends.cudnn.benchmark = False

    return tuned


def _repeatable(step: Step, device: torch.device) -> Step:
    """Take a step as budgets in steps have it."""

    def repeated() -> None:
        with repeatable(device, wanted=True):
            step()

    return repeated


def _ours(architecture: Architecture, image: torch.Tensor, target: torch.Tensor, device: torch.device) -> Step:
    learner = new_learner(architecture, device)
    return lambda: learner.learn(Batch(image, target), 1e-3)


def windows(device: torch.device, data: Path, quick: bool) -> None:
    """Time windows that are predicted together, with both layouts of weights."""
    sizes = [(16, (1, 2))] if quick else [(128, (2,)), (96, (2, 4)), (64, (2, 16)), (40, (2, 64))]
    network = AttentionUNet(Architecture(out_channels=5, channels=(32, 64, 128, 256), decoder_convs=1)).eval()
    separate = place_network(network, device)
    last = copy.deepcopy(separate)
    for weight in last.parameters():
        if weight.dim() == 5:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)

    @torch.inference_mode()
    def predict(network: AttentionUNet, image: torch.Tensor) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            network(image)

    for edge, batches in sizes:
        for batch in batches:
            image = torch.randn(batch, 1, edge, edge, edge, device=device)
            works = [partial(predict, each, image) for each in (separate, last)]
            taken = seconds_in_turns(works, device, 3 if quick else 9)
            ours, other = (spread([seconds / batch for seconds in each]) for each in taken)
            row(f"{batch} x {edge}^3", f"{ours} a window; with channels last {other}")


def where_time_goes(device: torch.device, data: Path, quick: bool) -> None:
    """List the slowest kernels of a training step."""
    patch, levels = ((16, 16, 16), 2) if quick else ((128, 128, 128), 6)
    widths = [min(32 * 2**i, 320) for i in range(levels)]
    image = torch.randn(2, 1, *patch, device=device)
    target = torch.randint(0, 3, (2, 1, *patch), dtype=torch.uint8, device=device)
    step = _ours(Architecture(out_channels=3, channels=widths, decoder_convs=1), image, target, device)
    for _ in range(3):
        step()
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as profiler:
        for _ in range(3):
            step()
    on_device = device.type == "cuda"

    def time_of(event: object) -> float:
        return float(getattr(event, "self_device_time_total" if on_device else "self_cpu_time_total"))

    events = sorted(profiler.key_averages(), key=time_of, reverse=True)
    total = sum(map(time_of, events))
    for event in events[:14]:
        row(event.key[:90], f"{time_of(event) / 3e3:.2f} ms a step, {time_of(event) / total:.0%}")
