"""Changes of the values of images, each patch and channel of a batch by its own strength; the grid stays.

Images are (N, C, *S) with any number of spatial axes; strengths are (N, C), if not said otherwise. Values that the
scanner would have measured from zero are counted from the darkest voxel of the channel.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from attention_unet.layers.dimensions import INTERPOLATION

BLUR_RADIUS = 3  # voxels; of Gaussians of up to 1 voxel, less than 3 in a thousand lie beyond


def blurred(image: Tensor, sd: Tensor) -> Tensor:
    """Blur by a Gaussian of a standard deviation of ``sd`` voxels; edges are repeated outwards."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=image.device)
    kernel = torch.exp(-(offsets**2) / (2 * sd[..., None] ** 2))
    kernel = kernel / kernel.sum(dim=-1, keepdim=True)
    for length in image.shape[2:]:  # a product along one axis after another, each of which goes to the end
        voxels = torch.arange(length, device=image.device)
        reached = (voxels + offsets[:, None]).clamp(0, length - 1)
        counts = torch.tensordot(kernel, (reached[..., None] == voxels).to(kernel.dtype), dims=1)
        lines = image.movedim(2, -1)
        image = (lines.flatten(2, -2) @ counts.mT).reshape(lines.shape)
    return image


def shaded(image: Tensor, log_field: Tensor) -> Tensor:
    """Multiply by a smooth field, as of a receive coil; its logarithm (N, C, *nodes) is given at a few even nodes."""
    field = F.interpolate(log_field, image.shape[2:], mode=INTERPOLATION[image.ndim - 2], align_corners=True).exp()
    darkest = image.amin(dim=axes_of(image), keepdim=True)
    return (image - darkest) * field + darkest


def brightened(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a factor."""
    return image * over(factor, image)


def contrasted(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply distances from the mean by a factor, within the range of the channel."""
    low, high = image.amin(dim=axes_of(image), keepdim=True), image.amax(dim=axes_of(image), keepdim=True)
    mean = image.mean(dim=axes_of(image), keepdim=True)
    return ((image - mean) * over(factor, image) + mean).clamp(low, high)


def curved(image: Tensor, exponent: Tensor) -> Tensor:
    """A gamma curve over the range of the channel; its mean and standard deviation stay."""
    axes = axes_of(image)
    low, high = image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
    curve = ((image - low) / (high - low).clamp(min=1e-6)) ** over(exponent, image)
    mean, deviation = curve.mean(dim=axes, keepdim=True), curve.std(dim=axes, keepdim=True, correction=0)
    wanted = image.std(dim=axes, keepdim=True, correction=0)
    return (curve - mean) / deviation.clamp(min=1e-6) * wanted + image.mean(dim=axes, keepdim=True)


def coarsened(image: Tensor, share: Tensor) -> Tensor:
    """Sample to a share (N, 1) of the voxels along every axis and back."""
    mode = INTERPOLATION[image.ndim - 2]
    rows = []
    for row, kept in zip(image, share.flatten().tolist(), strict=True):
        grid = [max(round(n * kept), 1) for n in image.shape[2:]]
        coarse = F.interpolate(row[None], grid, mode="nearest-exact")
        rows.append(F.interpolate(coarse, image.shape[2:], mode=mode, align_corners=False))
    return torch.cat(rows)


def noisy(image: Tensor, sd: Tensor, seed: Tensor) -> Tensor:
    """Add Gaussian noise of a standard deviation; ``seed`` (N, 1) fixes that of each patch, whatever its batch."""
    generator = torch.Generator(device=image.device)
    noise = [
        torch.randn(row.shape, generator=generator.manual_seed(number), device=image.device)
        for row, number in zip(image, seed.flatten().tolist(), strict=True)
    ]
    return image + torch.stack(noise) * over(sd, image)


def axes_of(image: Tensor) -> tuple[int, ...]:
    """Spatial axes of (N, C, *S)."""
    return tuple(range(2, image.ndim))


def over(strength: Tensor, image: Tensor) -> Tensor:
    """A strength (N, C) as (N, C, 1, ...), to be multiplied with an image."""
    return strength.reshape(*strength.shape, *[1] * (image.ndim - 2))
