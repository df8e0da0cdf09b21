"""Cost of a mechanism, measured on the real module: parameters, multiply-accumulates, memory and time."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from attention_unet.attention.base import Attention, Init, Place, check_contract
from attention_unet.attention.specification import Spec, build_at, write_spec
from attention_unet.layers.dimensions import CONV
from attention_unet.machine.memory import peak_bytes

REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Cost of a mechanism on one grid, for one sample."""

    name: str  # specification of the mechanism
    kind: str  # kind of the mechanism; empty for a convolution
    needs_gate: bool  # whether the mechanism uses the decoder's signal
    parameters: int  # number of learned parameters
    # Multiply-accumulates of convolutions, linear layers and matrix products in a forward pass. Sums, means, products
    # by the weights and sampling are not counted.
    macs: int
    forward_seconds: float  # median time of a forward pass without gradients
    forward_bytes: int  # peak memory of a forward pass, without input and parameters
    step_seconds: float  # median time of a forward and backward pass
    step_bytes: int  # peak memory of a forward and backward pass, without input and parameters


def measure(
    spec: Spec,
    channels: int,
    grid: Sequence[int],
    *,
    init: Init = "open",
    device: torch.device | None = None,
) -> Cost:
    """Measure a mechanism on random features of a grid of two or three axes, by default on the CPU.

    The gating signal has half their grid and twice their channels. Raise ValueError if the specification is invalid.
    """
    attention = build_at(spec, Place(len(grid), channels, 2 * channels, init=init))
    return _measure_module(attention, write_spec(spec), channels, grid, device or torch.device("cpu"))


def measure_convolution(channels: int, grid: Sequence[int], device: torch.device | None = None) -> Cost:
    """Measure the yardstick: one convolution of kernel 3 that keeps the number of channels."""
    name = "3x3 convolution" if len(grid) == 2 else "3x3x3 convolution"
    conv = CONV[len(grid)](channels, channels, kernel_size=3, padding=1)
    return _measure_module(conv, name, channels, grid, device or torch.device("cpu"))


def count_macs(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Count the multiply-accumulates of a forward pass. On tensors of the "meta" device nothing is computed."""
    # Torch's counter does not know torch's fused CPU kernel.
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _count_fused_flops}
    with FlopCounterMode(display=False, custom_mapping=fused) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops() // 2)


def _measure_module(module: nn.Module, name: str, channels: int, grid: Sequence[int], device: torch.device) -> Cost:
    module = module.to(device).eval()
    x = torch.randn(1, channels, *grid, device=device)
    inputs = [x]
    if isinstance(module, Attention):
        inputs.append(torch.randn(1, 2 * channels, *(-(-n // 2) for n in grid), device=device))
        with torch.no_grad():
            check_contract(module, *inputs)

    @torch.no_grad()
    def forward() -> None:
        module(*inputs)

    def step() -> None:
        result = module(*[value.requires_grad_() for value in inputs])
        features: Tensor = result.features if isinstance(module, Attention) else result
        torch.autograd.backward(features.sum())
        for value in (*inputs, *module.parameters()):
            value.grad = None

    return Cost(
        name=name,
        kind=module.kind if isinstance(module, Attention) else "",
        needs_gate=isinstance(module, Attention) and module.needs_gate,
        parameters=sum(p.numel() for p in module.parameters()),
        macs=count_macs(module, inputs),
        forward_seconds=measure_seconds(forward, device, REPEATS),
        forward_bytes=peak_bytes(forward, device),
        step_seconds=measure_seconds(step, device, REPEATS),
        step_bytes=peak_bytes(step, device),
    )


def _count_fused_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def measure_seconds(run: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Return the median time of a function. It runs once before: this allocates memory and chooses kernels."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
