"""Convolutions, pooling and interpolation for 2 or 3 spatial dimensions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` that predicts one window on a CPU in float32 as fast as each of several.

    For a single sample, torch leaves oneDNN aside where channels times the first two axes are at most 20,480, however
    long the third axis (``use_mkldnn`` in ATen/native/Convolution.cpp): nearly everywhere in windows of a small scan.

    Where the first axis has one voxel, only the middle of the kernel is used: the rest sees padding, and on such grids
    oneDNN (torch 2.13) returns wrong numbers in bfloat16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x`` (B, C, *S)."""
        if torch.compiler.is_compiling() or not isinstance(self.padding, tuple):
            return super().forward(x)
        weight, padding = middle_of_kernel(x, self.weight, self.padding, self.dilation[0])
        plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if ONEDNN and plain and torch.is_inference_mode_enabled() and x.device.type == "cpu" and len(x) == 1:
            return torch.mkldnn_convolution(x, weight, self.bias, padding, self.stride, self.dilation, self.groups)
        return F.conv3d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)


def middle_of_kernel(
    x: Tensor, weight: Tensor, padding: tuple[int, ...], dilation: int = 1
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the weight (O, C, 1, ...) and the padding of the same convolution of one plane ``x`` (B, C, 1, J, K).

    Of more planes, or where the convolution changes their number, it is as given.
    """
    edge = weight.shape[2]
    if x.shape[2] > 1 or edge == 1 or 2 * padding[0] != dilation * (edge - 1):
        return weight, padding
    return weight[:, :, edge // 2 : edge // 2 + 1], (0, *padding[1:])


CONV: dict[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: Conv3d}
TRANSPOSED_CONV: dict[int, Callable[..., nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
MAX_POOL: dict[int, Callable[..., nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def per_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return one value for each axis: repeat a single value; raise ValueError if a sequence has another length."""
    if isinstance(value, int):
        return (value,) * dims
    if len(value) != dims:
        raise ValueError(f"expected one value, or one for each of the {dims} axes, got {list(value)}")
    return tuple(value)


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    """Crop the end of every axis of ``x`` (B, C, *S) that is longer than in ``like``."""
    for axis in range(2, like.dim()):
        x = x.narrow(axis, 0, like.size(axis))
    return x


def interpolate_to(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Resample ``x`` (B, C, *S) linearly to a grid."""
    return F.interpolate(x, grid, mode=INTERPOLATION[x.dim() - 2], align_corners=False)


def pool_to(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Average ``x`` (B, C, *S) over boxes of about equal size, to a coarser grid."""
    if torch.compiler.is_exporting() or x.device.type == "mps":  # ONNX and MPS have no such pooling in 3-D
        for axis, parts in enumerate(grid, start=2):
            averages = averages_of_boxes(x.shape[axis], parts).to(x)
            x = torch.tensordot(averages, x, dims=([1], [axis])).movedim(0, axis)
        return x
    if len(grid) == 2:
        return F.adaptive_avg_pool2d(x, (grid[0], grid[1]))
    return F.adaptive_avg_pool3d(x, (grid[0], grid[1], grid[2]))


def averages_of_boxes(voxels: int, parts: int) -> Tensor:
    """Return the weight of each voxel of an axis in the average of each part of adaptive pooling, (parts, voxels)."""
    place, part = torch.arange(voxels), torch.arange(parts)[:, None]
    inside = (place * parts > part * voxels - parts) & (place * parts < (part + 1) * voxels)
    return inside / inside.sum(dim=1, keepdim=True)
