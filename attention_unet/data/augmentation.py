"""Random changes of training patches, built from MONAI's transforms with the probabilities of the configuration."""

import math

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandScaleIntensityFixedMeand,
    RandSimulateLowResolutiond,
)

from attention_unet.config import AugmentationConfig
from attention_unet.dimensions import INTERPOLATION

AXES = ("left-right", "back-front", "down-up")
BOTH = ("image", "target")


def spatial_change(config: AugmentationConfig, patch: tuple[int, ...]) -> Compose:
    """Rotation and scaling, always applied: of a patch with a margin, (C, *S), to its inner part of ``patch``."""
    dims = len(patch)
    angle = math.radians(config.rotation_degrees)
    # MONAI scales the sampling grid: to show things larger, the grid shrinks.
    smallest, largest = config.scale
    return Compose(
        [
            RandAffined(
                BOTH,
                prob=1.0,
                rotate_range=[(-angle, angle)] * (3 if dims == 3 else 1),
                scale_range=[(1 / largest - 1, 1 / smallest - 1)] * dims,
                spatial_size=patch,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            )
        ]
    )


def margin(config: AugmentationConfig, patch: tuple[int, ...]) -> tuple[int, ...]:
    """Size of what a changed patch may look at: the box about the patch turned and zoomed out the farthest."""
    turn = math.radians(min(config.rotation_degrees, 45.0))
    diagonal = math.sqrt(sum(edge**2 for edge in patch))
    reach = [
        min(edge * math.cos(turn) + math.sin(turn) * math.sqrt(diagonal**2 - edge**2), diagonal) / config.scale[0]
        for edge in patch
    ]
    return tuple(max(math.ceil(r), edge) for r, edge in zip(reach, patch, strict=True))


def appearance_change(config: AugmentationConfig, axes: tuple[int, ...]) -> Compose:
    """Everything that keeps the grid: mirroring of image and target, and changes of the image's values.

    Args:
        config: probabilities.
        axes: RAS+ axes of the patch, in order: (0, 1, 2), or those within the slice of a 2-D network.
    """
    flips = [RandFlipd(BOTH, prob=0.5, spatial_axis=i) for i, a in enumerate(axes) if AXES[a] in config.flip_axes]
    sigma = (0.5, 1.0)
    return Compose(
        [
            *flips,
            RandGaussianSmoothd("image", prob=config.blur, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
            RandBiasFieldd("image", prob=config.bias_field, degree=3, coeff_range=(0.0, 0.2)),
            RandScaleIntensityd("image", prob=config.brightness, factors=(-0.25, 0.25)),
            RandScaleIntensityFixedMeand("image", prob=config.contrast, factors=(-0.25, 0.25), preserve_range=True),
            RandAdjustContrastd("image", prob=config.gamma, gamma=(0.7, 1.5), retain_stats=True),
            RandSimulateLowResolutiond(
                "image", prob=config.low_resolution, zoom_range=(0.5, 1.0), upsample_mode=INTERPOLATION[len(axes)]
            ),
            RandGaussianNoised("image", prob=config.noise, std=0.3),
        ]
    )
