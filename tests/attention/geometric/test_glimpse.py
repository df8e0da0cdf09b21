import numpy as np
import torch

from attention_unet.attention.base import Place
from attention_unet.attention.geometric.glimpse import Glimpse
from tests.attention.build import image, trained
from tests.reference.geometric import cut_out


def test_retina_is_fine_in_the_middle_and_shows_the_whole_grid_around():
    """Patches of 20 x 45 voxels in 5 x 5, 10 x 15 in 5 x 5 (two by three voxels averaged), and 5 x 5."""
    attention, x = trained(Glimpse(Place(2, 4, 4))), image(1, 4, 20, 45)
    seen = attention.see(x)
    centre = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
    patches = attention.retina(seen, centre).reshape(3, 4, 5, 5)
    shown = seen[0].detach().numpy()
    for patch, (rows, columns) in zip(patches, ((4, 9), (2, 3), (1, 1)), strict=True):
        blocks = shown.reshape(4, 20 // rows, rows, 45 // columns, columns).mean(axis=(2, 4))
        extent = np.array([5 * rows / 20, 5 * columns / 45])
        expected = cut_out(blocks, centre[0].numpy(), extent, (5, 5))
        torch.testing.assert_close(patch, torch.from_numpy(expected))


def test_on_a_grid_of_five_voxels_all_patches_are_the_grid():
    attention, seen = Glimpse(Place(2, 4, 4)).double(), image(1, 4, 5, 5)
    patches = attention.retina(seen, torch.zeros(1, 2, dtype=torch.float64)).reshape(3, 4, 5, 5)
    torch.testing.assert_close(patches, seen.expand(3, -1, -1, -1))


def test_each_look_follows_from_those_before():
    attention, x = trained(Glimpse(Place(2, 4, 4)), std=0.2), image(1, 4, 8, 8)
    centres, extents = attention.look(x)
    state = torch.zeros(1, 64, dtype=torch.float64)
    centre = torch.zeros(1, 2, dtype=torch.float64)
    for t in range(3):
        what = attention.what(attention.retina(attention.see(x), centre)).relu()
        glimpse = attention.join(torch.cat([what, attention.where(centre).relu()], dim=1)).relu()
        state = (attention.remember(state) + attention.take_in(glimpse)).relu()
        centre = attention.locate(state).tanh()
        torch.testing.assert_close(centres[:, t], centre)
        torch.testing.assert_close(extents[:, t], torch.sigmoid(attention.measure(state)).clamp(min=0.05))
    assert not torch.allclose(centres[:, 0], centres[:, 2])


def test_weights_are_highest_where_it_looked():
    attention, x = Glimpse(Place(2, 4, 4)).double(), image(1, 4, 16, 16)
    for layer, bias in ((attention.locate, 0.6), (attention.measure, -2.0)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, bias)
    weights = attention(x).weights[0, 0]
    peak = divmod(int(weights.argmax()), 16)
    place = torch.tanh(torch.tensor(0.6)).item()
    assert all(abs((i + 0.5) / 8 - 1 - place) < 0.1 for i in peak)
    torch.testing.assert_close(weights.max(), torch.sigmoid(torch.tensor(4.0).double()), atol=1e-3, rtol=0)
    torch.testing.assert_close(weights.min(), torch.sigmoid(torch.tensor(2.0).double()), atol=1e-3, rtol=0)


def test_a_place_exactly_on_a_voxel_has_a_gradient():
    attention, x = Glimpse(Place(2, 4, 4)), torch.randn(1, 4, 7, 7, requires_grad=True)
    torch.nn.init.zeros_(attention.locate.weight)
    torch.nn.init.zeros_(attention.locate.bias)
    attention(x).features.sum().backward()
    assert attention.locate.bias.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_learns_to_locate():
    """A toy task of the paper's kind: find the bright square, here on grids that are no squares."""
    torch.manual_seed(0)
    attention = Glimpse(Place(2, 1, 1))
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.005)
    corners = torch.cartesian_prod(torch.arange(0, 13, 4), torch.arange(0, 25, 4))
    x = 0.1 * torch.randn(len(corners), 1, 16, 28)
    for case, (row, column) in zip(x, corners.tolist(), strict=True):
        case[:, row : row + 4, column : column + 4] += 1
    truth = (corners + 2) / torch.tensor([8, 14]) - 1.0
    for _ in range(300):
        optimizer.zero_grad()
        (attention.look(x)[0][:, -1] - truth).square().mean().backward()
        optimizer.step()
    assert float((attention.look(x)[0][:, -1] - truth).abs().mean()) < 0.1


def test_weights_fall_off_as_a_gaussian_of_the_extent():
    attention, x = trained(Glimpse(Place(2, 4, 4))), image(1, 4, 12, 10)
    centres, extents = (part[0].detach().numpy() for part in attention.look(x))
    places = np.stack(np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in (12, 10)), indexing="ij"), axis=-1)
    unseen = np.ones((12, 10))
    for centre, extent in zip(centres, extents, strict=True):
        unseen *= 1 - np.exp(-(((places - centre) / extent) ** 2).sum(axis=-1) / 2)
    logits = attention.bias.item() + attention.amount.item() * (1 - 2 * unseen)
    torch.testing.assert_close(attention(x).weights[0, 0], torch.from_numpy(1 / (1 + np.exp(-logits))))


def test_positions_are_precise_in_bfloat16_and_extents_do_not_vanish():
    attention = Glimpse(Place(2, 8, 8)).bfloat16()
    torch.nn.init.constant_(attention.measure.bias, -50.0)
    centres, extents = attention.look(torch.randn(1, 8, 16, 16).bfloat16())
    assert centres.dtype == extents.dtype == torch.float32
    torch.testing.assert_close(extents, torch.full_like(extents, 0.05))
