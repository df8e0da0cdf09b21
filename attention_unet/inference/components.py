"""Drop small connected components of a structure: right for an organ, single or on two sides; wrong for lesions.

For which structures it is right is decided on held-out cases: where it raises Dice.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attention_unet.errors import ConfigError
from attention_unet.inference.settings import Settings
from attention_unet.scans.foreground import BY_CORNERS

if TYPE_CHECKING:
    from attention_unet.inference.model import Model

LEAST_GAIN = 0.0005  # Dice; a smaller gain is not worth the risk of dropping a true component


@dataclass(frozen=True)
class ComponentGain:
    """What a structure gains in Dice over held-out cases if its small components are dropped."""

    cases: int = 0
    total: float = 0.0  # sum of the gains
    squares: float = 0.0  # sum of their squares

    @classmethod
    def of(cls, gains: Iterable[float]) -> "ComponentGain":
        """Sum the gains of cases; NaN is left out."""
        known = [float(gain) for gain in gains if not math.isnan(gain)]
        return cls(len(known), sum(known), sum(gain**2 for gain in known))

    def __add__(self, other: "ComponentGain") -> "ComponentGain":
        return ComponentGain(self.cases + other.cases, self.total + other.total, self.squares + other.squares)

    @property
    def helps(self) -> bool:
        """Whether the mean gain is not tiny, and at least its standard error.

        If one case gains and the others stay the same, both are equal.
        """
        if self.cases < 2:
            return False
        mean = self.total / self.cases
        variance = max(self.squares / self.cases - mean**2, 0.0) * self.cases / (self.cases - 1)
        error = math.sqrt(variance / self.cases)
        return mean >= LEAST_GAIN and (mean >= error or math.isclose(mean, error))


Gains = Mapping[str, ComponentGain]


def component_gains(
    dice: Mapping[str, Sequence[float]], cleaned: Mapping[str, Sequence[float]], names: Sequence[str]
) -> dict[str, ComponentGain]:
    """Return what each class gains from dropping small components of held-out cases.

    ``dice`` and ``cleaned`` are the Dice of each class by case, before and after; NaN where it is undefined.
    """
    return {
        name: ComponentGain.of(cleaned[case][index] - dice[case][index] for case in dice)
        for index, name in enumerate(names)
    }


def pool_gains(gains: Iterable[Gains]) -> dict[str, ComponentGain]:
    """Return the gain of each class over the held-out cases of several trainings."""
    pooled: dict[str, ComponentGain] = {}
    for of_classes in gains:
        for name, gain in of_classes.items():
            pooled[name] = pooled.get(name, ComponentGain()) + gain
    return pooled


def drop_small(label_map: NDArray[np.generic], values: Sequence[int]) -> NDArray[np.generic]:
    """Return a label map (I, J, K) without the components of some values that are smaller than half the largest."""
    cleaned: NDArray[np.generic] = label_map.copy()
    for value, box in enumerate(ndimage.find_objects(label_map), start=1):
        if box is not None and value in values:
            components, count = ndimage.label(label_map[box] == value, BY_CORNERS)
            if count > 1:
                sizes = np.zeros(count + 1, dtype=np.int64)
                for plane in components:  # plane by plane: bincount copies what it counts
                    sizes += np.bincount(plane.ravel(), minlength=count + 1)
                small = 2 * sizes < sizes[1:].max()
                small[0] = False  # the background
                cleaned[box][small[components]] = 0
    return cleaned


def cleaned_classes(models: Sequence["Model"], settings: Settings) -> list[str]:
    """Return the classes whose small components are dropped: those that the settings name; by default,
    those that gained by it on the held-out cases of the models.

    Raise ConfigError if the settings name a class that the models do not have, or any where classes overlap.
    """
    labels = models[0].plan.labels
    names = labels.names
    if labels.overlapping and settings.drop_small:
        raise ConfigError("drop_small: components cannot be dropped if classes overlap: leave drop_small empty")
    if set(settings.drop_small or ()) - set(names):
        raise ConfigError(f"drop_small is {settings.drop_small!r}: expected some of the classes {', '.join(names)}")
    if settings.drop_small is not None:
        return [name for name in names if name in settings.drop_small]
    gains = pool_gains(model.component_gains for model in models)
    return [name for name in names if name in gains and gains[name].helps]
