"""What every mechanism keeps, whatever its name."""

import json
import warnings

import pytest
import torch

from attention_unet.attention import MECHANISMS, NAMES, build, find_mechanism
from tests.attention.build import inputs, make, randomised
from tests.attention.expected import expected

GRIDS = {2: [(7, 10), (1, 5), (8, 8), (1, 1)], 3: [(5, 6, 7), (1, 4, 3), (4, 4, 4), (1, 1, 1)]}

every_name = pytest.mark.parametrize("name", NAMES)
both_dims = pytest.mark.parametrize("dims", [2, 3])


@every_name
@both_dims
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_shapes_and_range(name, dims, dtype, training):
    attention = randomised(name, dims).to(dtype).train(training)
    for grid in GRIDS[dims]:
        x, gate = inputs(grid, dtype)
        with torch.no_grad():
            features, weights = attention(x, gate, True)
        assert features.shape == x.shape
        assert features.dtype == dtype
        assert features.isfinite().all()
        if weights is None:
            assert name == "identity"
            continue
        assert weights.dtype == dtype
        if attention.multiplies:
            torch.testing.assert_close(features, x * weights)
        one_a_channel, one_a_voxel, all_weights = (1, 6, *[1] * dims), (1, 1, *grid), (1, 6, *grid)
        shapes = {"channel": one_a_channel, "spatial": one_a_voxel, "geometric": one_a_voxel, "mixed": all_weights}
        if attention.kind in shapes:
            assert weights.shape == shapes[attention.kind]
        else:  # the grid of the keys, or the number of kernels
            assert weights.shape[:2] == (1, 1) or weights.shape[2:] == (1,) * dims
        low, high = expected(name).weights
        assert float(weights.min()) >= low
        assert float(weights.max()) <= high + 1e-5


@every_name
@both_dims
def test_starts_open(name, dims):
    attention = make(name, dims).eval()
    x, gate = inputs((8,) * dims, batch=2)
    with torch.no_grad():
        features, weights = attention(x, gate)
    low, high = expected(name).start
    if expected(name).starts_as_identity:
        torch.testing.assert_close(features, x, atol=0, rtol=0)
    elif attention.multiplies:
        assert float(weights.min()) > low
        assert float(weights.max()) < high
    else:
        assert float((features - x).abs().max() / x.abs().max()) < 0.06


@every_name
def test_the_published_start_is_less_open(name):
    x, gate = inputs((8, 8, 8), batch=2, channels=128)
    opened, published = (make(name, 3, channels=128, init=init) for init in ("open", "paper"))
    one, other = opened(x, gate), published(x, gate)
    if opened.multiplies and not torch.equal(one.features, other.features):  # no second start: nothing is learned
        assert float(other.weights.mean()) < float(one.weights.mean()) - 0.05


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"hard"}))  # its gradient goes straight through a threshold
@both_dims
def test_gradients_in_double_precision(name, dims):
    attention = randomised(name, dims, channels=4).double().eval()
    x, gate = inputs((4, 3, 2)[:dims], torch.float64, channels=4)
    x.requires_grad_()
    gate.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: attention(a, b).features, (x, gate), fast_mode=True)


@every_name
@both_dims
def test_every_parameter_learns(name, dims):
    attention = randomised(name, dims, channels=16).train()
    x, gate = inputs((6, 5, 4)[:dims], batch=2, channels=16)
    attention(x.requires_grad_(), gate).features.square().sum().backward()
    silent = [n for n, p in attention.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A bias in front of a normalisation does nothing, whatever it is: known of the published gate, kept for parity; and
    # one bias of all keys falls out of a softmax.
    known = {"lee_gate": {"project_x.0.bias", "project_gate.0.bias", "psi.0.bias"}}
    keys = {n for n, _ in attention.named_parameters() if n.startswith("key.") and n.endswith("bias")}
    assert set(silent) <= known.get(name, keys if attention.kind == "pairwise" else set())


@every_name
def test_order_of_voxels_matters_only_where_it_should(name):
    attention = randomised(name, 2).eval()
    x, gate = inputs((8, 8))
    order = torch.randperm(64)
    shuffled = x.flatten(2)[..., order].reshape(x.shape)
    moved = attention(x, gate).features.flatten(2)[..., order].reshape(x.shape)
    same = torch.allclose(attention(shuffled, gate).features, moved, atol=1e-5)
    assert same == expected(name).permutable


@every_name
@both_dims
def test_mirroring_matters_only_where_it_should(name, dims):
    """A stride of two or a kernel of several voxels has a left and a right; predictions of mirrored scans differ."""
    attention = randomised(name, dims).eval()
    x, gate = inputs((8,) * dims)
    same = torch.allclose(attention(x.flip(2), gate.flip(2)).features.flip(2), attention(x, gate).features, atol=1e-5)
    assert same == expected(name).mirrors


def test_a_gate_without_stride_is_symmetric():
    attention = randomised("gate", 2, stride=1).eval()
    x, gate = torch.randn(1, 6, 8, 8), torch.randn(1, 9, 8, 8)
    torch.testing.assert_close(attention(x.flip(2), gate.flip(2)).features.flip(2), attention(x, gate).features)


@every_name
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.long)])
def test_is_exported(name, dims):
    attention = randomised(name, dims).eval()
    x, gate = inputs((6, 5, 4)[:dims], batch=2)
    program = torch.export.export(attention, (x, gate)).module()
    torch.testing.assert_close(program(x, gate), attention(x, gate))


ONE_OF_EACH_KIND = [*{getattr(find_mechanism(name), "kind", "wrapper"): name for name in reversed(NAMES)}.values()]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name not in ONE_OF_EACH_KIND)) for name in NAMES]
)
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.long)])
def test_compiles(name, dims):
    attention = randomised(name, dims).eval()
    x, gate = inputs((6, 5, 4)[:dims], batch=2)
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, gate), attention(x, gate))
    torch._dynamo.reset()


@every_name
@both_dims
def test_autocast_keeps_type_and_value(name, dims):
    attention = randomised(name, dims).eval()
    x, gate = inputs((6, 5, 4)[:dims])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = attention(x.bfloat16(), gate.bfloat16()).features
        assert attention(x, gate).features.dtype == torch.float32
    assert features.dtype == torch.bfloat16
    exact = attention(x, gate).features
    if name != "hard":  # a rounding may turn a cell over
        assert float((features - exact).abs().mean() / exact.abs().mean()) < 0.05


@every_name
@both_dims
def test_single_precision_is_close(name, dims):
    attention = randomised(name, dims, channels=8).eval()
    x, gate = inputs((7, 5, 6)[:dims], channels=8)
    single = attention(x, gate, True)
    exact = attention.double()(x.double(), gate.double(), True)
    torch.testing.assert_close(single.features.double(), exact.features, atol=1e-4, rtol=1e-4)
    if exact.weights is not None:
        torch.testing.assert_close(single.weights.double(), exact.weights.double(), atol=1e-4, rtol=1e-4)


@every_name
def test_only_what_is_learned_is_stored(name):
    attention = make(name, 3)
    stored = {key for key in attention.state_dict() if "running_" not in key and "num_batches" not in key}
    assert stored == dict(attention.named_parameters()).keys()


@every_name
@both_dims
def test_state_goes_round(name, dims):
    attention = randomised(name, dims).eval()
    again = build(json.loads(json.dumps(name)), dims=dims, channels=6, gate_channels=9).eval()
    again.load_state_dict(attention.state_dict())
    x, gate = inputs((6, 5, 4)[:dims])
    assert torch.equal(again(x, gate).features, attention(x, gate).features)


@every_name
@both_dims
@pytest.mark.parametrize("init", ["open", "paper"])
def test_cases_of_a_batch_do_not_mix(name, dims, init):
    attention = randomised(name, dims, channels=8, init=init).eval()
    x, gate = inputs((6, 5, 4)[:dims], batch=3, channels=8)
    x = x * torch.tensor([1.0, 3.0, 0.3]).reshape(3, *[1] * (dims + 1))
    together = attention(x, gate, True)
    for i in range(3):
        alone = attention(x[i : i + 1], gate[i : i + 1], True)
        torch.testing.assert_close(together.features[i : i + 1], alone.features, atol=1e-4, rtol=1e-4)
        if alone.weights is not None:
            torch.testing.assert_close(together.weights[i : i + 1], alone.weights, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in MECHANISMS if find_mechanism(name).kind == "pairwise"])
def test_maps_that_only_serve_display_have_no_gradient(name):
    attention = randomised(name, 2).train()
    x, gate = inputs((6, 5))
    features, weights = attention(x.requires_grad_(), gate, True)
    assert features.requires_grad
    assert not weights.requires_grad


@every_name
def test_nothing_stays_on_the_module(name):
    attention = make(name, 2).eval()
    before = {key: id(value) for key, value in vars(attention).items()}
    attention(*inputs((6, 5)))
    assert {key: id(value) for key, value in vars(attention).items()} == before


@pytest.mark.parametrize("name", ["gate", "lee_gate", "multi_gate", "hard", "cross", "recursive", "decoder_channel"])
def test_gates_say_what_they_miss(name):
    attention = make(name, 2)
    assert attention.needs_gate
    with pytest.raises(ValueError, match="needs the coarser decoder signal"):
        attention(torch.randn(1, 6, 8, 8))


@pytest.mark.parametrize("name", [name for name in NAMES if not make(name, 2).needs_gate])
def test_others_do_without_a_gate(name):
    attention = make(name, 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attention(torch.randn(1, 6, 8, 8)).features.shape == (1, 6, 8, 8)
