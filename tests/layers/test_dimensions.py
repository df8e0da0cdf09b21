import pytest
import torch
from torch.nn import functional as F

from attention_unet.layers.dimensions import averages_of_boxes, pool_to


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
