import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from attention_unet.layers.dimensions import CONV, ONEDNN, averages_of_boxes, crop_to, per_axis, pool_to


@pytest.mark.parametrize("voxels", range(1, 23))
def test_averages_are_those_of_adaptive_pooling(voxels):
    x = torch.randn(1, 1, voxels)
    for parts in range(1, voxels + 1):
        torch.testing.assert_close(averages_of_boxes(voxels, parts) @ x[0, 0], F.adaptive_avg_pool1d(x, parts)[0, 0])


@pytest.mark.parametrize("grid", [(4, 3), (4, 3, 5)])
def test_an_exported_network_pools_alike(grid):
    class Pool(torch.nn.Module):
        def forward(self, x):
            return pool_to(x, grid)

    x = torch.randn(2, 3, *range(7, 7 + len(grid)))
    program = torch.export.export(Pool(), (x,))
    assert not [node for node in program.graph.nodes if "adaptive" in str(node.target)]
    torch.testing.assert_close(program.module()(x), Pool()(x))


@pytest.mark.skipif(not ONEDNN, reason="this torch has no oneDNN")
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (1, 2, 2)},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4},
        {"kernel_size": 1},
    ],
)
def test_one_small_window_is_predicted_by_onednn(options):
    torch.manual_seed(0)
    conv, x = CONV[3](16, 8, **options), torch.randn(1, 16, 10, 12, 14)
    exact = F.conv3d(
        *(x.double(), conv.weight.double(), None if conv.bias is None else conv.bias.double()),
        *(conv.stride, conv.padding, conv.dilation, conv.groups),
    )
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        found = conv(x)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
    kernels = {event.key for event in profiler.key_averages()}
    assert "aten::mkldnn_convolution" in kernels
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert conv(x).dtype == torch.bfloat16
    conv(x).sum().backward()
    assert conv.weight.grad is not None


@pytest.mark.parametrize("kernel", [3, 5, (3, 3, 1)])
@pytest.mark.parametrize("channels", [1, 12, 16])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_one_plane_is_convolved_right(channels, kernel, precision):
    """oneDNN returns other numbers in bfloat16."""
    torch.manual_seed(0)
    padding = [each // 2 for each in per_axis(kernel, 3)]
    conv, x = CONV[3](channels, 12, kernel, padding=padding), torch.randn(2, channels, 1, 9, 10)
    exact = F.conv3d(x.double(), conv.weight.double(), conv.bias.double(), padding=conv.padding)
    exact.square().sum().backward()
    of_exact, conv.weight.grad = conv.weight.grad.double(), None
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        found = conv(x)
        found.float().square().sum().backward()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.03)
    torch.testing.assert_close(conv.weight.grad.double(), of_exact, rtol=0.03, atol=0.01 * float(of_exact.abs().max()))
    with torch.inference_mode():
        torch.testing.assert_close(conv(x[:1]).double(), exact[:1], rtol=0, atol=1e-5)


def test_what_changes_the_number_of_planes_is_convolved_as_it_is():
    conv, x = CONV[3](3, 4, 3, padding=2), torch.randn(1, 3, 1, 6, 7)
    exact = F.conv3d(x.double(), conv.weight.double(), conv.bias.double(), padding=2)
    torch.testing.assert_close(conv(x).double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_compiles(dims):
    conv, x = CONV[dims](1, 2, 3).eval(), torch.randn(1, 1, *(6, 5, 4)[:dims])
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(conv, backend="eager", fullgraph=True)(x), conv(x))
    torch._dynamo.reset()


def test_the_end_of_longer_axes_is_cropped():
    x = torch.arange(42.0).view(1, 1, 6, 7)
    assert torch.equal(crop_to(x, torch.zeros(1, 3, 5, 7)), x[:, :, :5])
    assert torch.equal(crop_to(x, torch.zeros(1, 1, 4, 5)), x[:, :, :4, :5])
