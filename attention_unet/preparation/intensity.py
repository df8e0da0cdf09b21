"""Change the intensities of a batch of images. The grid stays the same.

Images are (N, C, *S) with any number of spatial axes. Strengths are (N, C) unless stated otherwise: each patch and
channel has its own. They are on the CPU: reading them back from a GPU would wait for it. Bias field and gamma use the
minimum of the channel as the zero of the scanner.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.layers.dimensions import INTERPOLATION, interpolate_to, pool_to

BLUR_RADIUS = 3  # voxels; beyond it are less than 3 in a thousand of a Gaussian of at most 1 voxel
REACHED = 0.01  # a smoothed voxel stays 0 if less than this share of it is inside the mask


def blur(image: Tensor, sd: Tensor, thick: int | None = None) -> Tensor:
    """Blur with a Gaussian of standard deviation ``sd`` in voxels, but not along the spatial axis ``thick``.

    Edge voxels are repeated outwards.
    """
    offsets, sd = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=image.device), send(sd, image.device)
    kernel = torch.exp(-(offsets**2) / (2 * sd[..., None] ** 2))
    kernel = kernel / kernel.sum(dim=-1, keepdim=True)
    for axis, length in enumerate(image.shape[2:]):  # blurs the first spatial axis, and moves it to the end
        image = image.movedim(2, -1)
        if axis == thick:
            continue
        voxels = torch.arange(length, device=image.device)
        neighbours = (voxels + offsets[:, None]).clamp(0, length - 1)
        weights = torch.tensordot(kernel, (neighbours[..., None] == voxels).to(kernel.dtype), dims=1)
        image = (image.flatten(2, -2) @ weights.mT).reshape(image.shape)
    return image


def smooth_masked(smooth: Callable[..., Tensor], image: Tensor, strength: Tensor, thick: int | None = None) -> Tensor:
    """Smooth a normalised image (N, C, *S), and the edge of its mask as in a scan that is smoothed before.

    In such a scan, zeros outside of the mask are darker than tissue, so that its edge becomes a dark rim. Here, zeros
    are taken to be as dark as the darkest voxel of the patch, roughly. Those that the mask does not reach stay 0.
    ``smooth`` is ``blur`` or ``lower_resolution``.
    """
    zeros = image == 0
    darkest = image.amin(dim=spatial_axes(image), keepdim=True)
    smoothed = smooth(torch.where(zeros, darkest, image), strength, thick)
    return smoothed.masked_fill(smooth((~zeros).to(image.dtype), strength, thick) < REACHED, 0.0)


def apply_bias_field(image: Tensor, log_field: Tensor) -> Tensor:
    """Multiply by a smooth field, as of a receive coil; ``log_field`` (N, C, *points) is its logarithm, coarsely."""
    points, mode = send(log_field, image.device), INTERPOLATION[image.ndim - 2]
    field = F.interpolate(points, image.shape[2:], mode=mode, align_corners=True).exp()
    minimum = image.amin(dim=spatial_axes(image), keepdim=True)
    return (image - minimum) * field + minimum


def scale_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a factor."""
    return image * expand_strength(factor, image)


def scale_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance to the mean by a factor, and clip to the range of the channel."""
    axes = spatial_axes(image)
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    mean = image.mean(dim=axes, keepdim=True)
    return ((image - mean) * expand_strength(factor, image) + mean).clamp(low, high)


def apply_gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """Apply a gamma curve over the range of the channel; its mean and standard deviation stay the same."""
    axes = spatial_axes(image)
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    curve = ((image - low) / (high - low).clamp(min=1e-6)) ** expand_strength(exponent, image)
    mean, deviation = curve.mean(dim=axes, keepdim=True), curve.std(dim=axes, keepdim=True, correction=0)
    wanted = image.std(dim=axes, keepdim=True, correction=0)
    return (curve - mean) / deviation.clamp(min=1e-6) * wanted + image.mean(dim=axes, keepdim=True)


def lower_resolution(image: Tensor, share: Tensor, thick: int | None = None) -> Tensor:
    """Resample to a share (N, 1) of the voxels along every spatial axis but ``thick``, and back."""
    rows = []
    for row, kept in zip(image, share.flatten().tolist(), strict=True):
        grid = [n if axis == thick else max(round(n * kept), 1) for axis, n in enumerate(image.shape[2:])]
        coarse = pool_to(row[None], grid)  # the nearest voxel would shift the image
        rows.append(interpolate_to(coarse, image.shape[2:]))
    return torch.cat(rows)


def add_noise(image: Tensor, sd: Tensor, seed: Tensor) -> Tensor:
    """Add Gaussian noise of standard deviation ``sd``. ``seed`` (N, 1) fixes the noise of each patch in any batch."""
    generator = torch.Generator(device=image.device)
    noise = [
        torch.randn(row.shape, generator=generator.manual_seed(number), device=image.device)
        for row, number in zip(image, seed.flatten().tolist(), strict=True)
    ]
    return image + torch.stack(noise) * expand_strength(sd, image)


def spatial_axes(image: Tensor) -> tuple[int, ...]:
    """Return the spatial axes of (N, C, *S)."""
    return tuple(range(2, image.ndim))


def expand_strength(strength: Tensor, image: Tensor) -> Tensor:
    """Return a strength (N, C) as (N, C, 1, ...), the number of axes of ``image``, on its device."""
    return send(strength, image.device).reshape(*strength.shape, *[1] * (image.ndim - 2))


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy values to a device without waiting for it. MPS may read them after they are freed, so it is waited for."""
    return values.to(device, non_blocking=device.type != "mps")
