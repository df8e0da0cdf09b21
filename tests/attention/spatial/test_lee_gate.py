import pytest
import torch
from monai.networks.nets.attentionunet import AttentionBlock

from attention_unet.attention.base import Place
from attention_unet.attention.spatial.lee_gate import LeeGate
from tests.attention.build import image, trained


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_monai(dims, training):
    gate, grid = trained(LeeGate(Place(dims, 6, 9))).train(training), (5, 4, 3)[:dims]
    judge = AttentionBlock(dims, f_int=3, f_g=9, f_l=6).double().train(training)
    prefixes = {"project_x": "W_x", "project_gate": "W_g", "psi": "psi"}
    # MONAI wraps each convolution in a module of its own.
    judge.load_state_dict(
        {
            f"{prefixes[key.split('.')[0]]}.{key.split('.', 1)[1].replace('0.', '0.conv.')}": value
            for key, value in gate.state_dict().items()
        }
    )
    x, signal = image(2, 6, *grid), image(2, 9, *grid)
    torch.testing.assert_close(gate(x, signal).features, judge(g=signal, x=x))


def test_a_coarser_signal_is_resampled():
    gate, x, signal = trained(LeeGate(Place(2, 6, 9))), image(1, 6, 8, 8), image(1, 9, 4, 4)
    # A projection of single voxels and a linear resampling can change places.
    upsampled = torch.nn.functional.interpolate(signal, (8, 8), mode="bilinear")
    torch.testing.assert_close(gate(x, signal).weights, gate(x, upsampled).weights)
