"""Images in which only the surroundings tell a target from a distractor, and a short training on them.

Bright and dark spots lie inside and outside of an organ. A disc elsewhere, the marker, says which of them count: if it
is bright, the bright spots inside of the organ are class 1, if it is dark, the dark ones. The rest of the organ is
class 2. So place, context and the content of the whole image decide.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from attention_unet.attention import Spec
from attention_unet.network import Architecture, AttentionUNet, NetworkOutput
from attention_unet.training.losses import SegmentationLoss

SIDE = 64  # pixels
LEVELS = (1, 2)
BATCH = 8
Array = NDArray[np.float64]


def make_image(random: np.random.Generator, marker: int | None = None) -> tuple[Array, Array]:
    """Return an image and its classes, both (SIDE, SIDE). The marker is bright (1) or dark (-1); drawn if None."""
    places = np.stack(np.meshgrid(*[np.arange(SIDE)] * 2, indexing="ij"))
    side = random.choice([-1, 1])  # of the organ; the marker is on the other
    organ = disc(places, (random.uniform(18, 46), SIDE / 2 + side * random.uniform(10, 16)), random.uniform(10, 14, 2))
    other = disc(places, (random.uniform(10, 54), SIDE / 2 - side * random.uniform(14, 20)), random.uniform(5, 7, 2))
    spots = np.zeros(organ.shape, int)
    for region, count in ((organ, 8), (~(organ | other), 12)):
        middles = np.argwhere(region)
        for n, middle in enumerate(middles[random.choice(len(middles), count, replace=False)]):
            spots[disc(places, middle, (2, 2))] = (-1) ** n
    marker = marker or int(random.choice([-1, 1]))
    image = 0.8 * organ + 0.8 * marker * other + 0.9 * spots + random.normal(0, 0.2, organ.shape)
    return image, np.where(organ, np.where(spots == marker, 1, 2), 0)


def disc(places: NDArray[np.int64], middle: ArrayLike, radii: ArrayLike) -> NDArray[np.bool_]:
    """Return the mask of an ellipse along the axes."""
    scaled = (places - np.reshape(middle, (2, 1, 1))) / np.reshape(radii, (2, 1, 1))
    return np.asarray((scaled**2).sum(axis=0) <= 1)


def draw_batch(random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images (BATCH, 1, SIDE, SIDE) and their classes, in the same shape."""
    images, classes = zip(*(make_image(random) for _ in range(BATCH)), strict=True)
    return torch.tensor(np.stack(images)[:, None], dtype=torch.float32), torch.tensor(np.stack(classes)[:, None])


def train(spec: Spec, steps: int) -> AttentionUNet:
    """Train a small network with a mechanism on the skips of levels 1 and 2, each step on new images."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = AttentionUNet(
        Architecture(2, out_channels=3, channels=(8, 16, 32, 64), skips=spec, levels=LEVELS, decoder_convs=1)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    loss = SegmentationLoss(overlapping=False)
    for _ in range(steps):
        images, classes = draw_batch(random)
        output: NetworkOutput = network(images, full_output=True)
        optimizer.zero_grad()
        torch.autograd.backward(loss(output.logits, classes))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def dice_of_targets(network: AttentionUNet) -> float:
    """Return the Dice of the spots inside of the organ, over 64 new images."""
    random = np.random.default_rng(1)
    both = total = 0
    for _ in range(64 // BATCH):
        images, classes = draw_batch(random)
        found = network(images).argmax(dim=1, keepdim=True) == 1
        both += int((found & (classes == 1)).sum())
        total += int(found.sum() + (classes == 1).sum())
    return 2 * both / total
