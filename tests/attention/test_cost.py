"""The costs that are printed, against formulas: C channels, N voxels, Cg and Ng of the gating signal, d dimensions."""

import math

import pytest
import torch

from attention_unet.attention import MECHANISMS, NAMES, build
from attention_unet.attention.cost import count_macs, measure, measure_convolution
from attention_unet.attention.pairwise.scaled_dot_product import bounded_grid
from attention_unet.cli import main
from attention_unet.machine.memory import peak_bytes
from tests.attention.expected import expected


def se(c, r, n=1):
    hidden = max(c // r, min(c, 8))
    return 2 * c * hidden + hidden + c, n * 2 * c * hidden


def published(c, cg, grid):
    """Parameters and multiply-accumulates of every name as published, for C of at least 128 in 2-D."""
    n, d, ng = math.prod(grid), len(grid), math.prod(-(-g // 2) for g in grid)
    f, k = c // 2, {2: 7, 3: 5}[d]
    gate = (2**d * c * f + cg * f + f + f + 1, ng * (2**d * c * f + cg * f + f))
    spatial = 2 * k**d
    sse = (c + 1, c * n)
    w = min(c, {2: 128, 3: 64}[d])  # second-order pooling
    pairs = 16 * 17 // 2
    unit = (2 * c + 4 * (c // 4) + c * c // 4 * 2 + (c // 4) ** 2 * 3**d, c * c // 4 * 2 + (c // 4) ** 2 * 3**d)
    half, quarter = math.prod(-(-g // 2) for g in grid), math.prod(-(-g // 4) for g in grid)
    heads, points = 4, 4
    chosen = heads * points * (d + 1)
    glimpse = 3 * 4 * 5**d
    coarse = 8 * 4**d
    s = c // 16
    projections = 4 * (c * c + c)
    edge = {2: 7, 3: 4}[d]  # of a window
    boxed = math.prod(-(-g // edge) * edge for g in grid)
    return {
        "identity": (0, 0),
        "se": se(c, 16),
        "cbam_channel": se(c, 16, 2),
        "eca": (5, 5 * c),
        "gct": (3 * c, 0),
        "gaussian_ct": (0, 0),
        "srm": (4 * c, 0),
        "gsop": (
            c * w + w + 4 * w + 4 * w * w + 4 * w + 4 * w * c + c,
            n * (c * w + w * w) + 4 * w * w + 4 * w * c,
        ),
        "fca": (2 * c * c // 16, 2 * c * c // 16),
        "encoding": (c * c + 2 * c + 32 * c + 32 + 64 + c * c + c, n * (c * c + 2 * 32 * c) + c * c),
        "spatial": (spatial, spatial * n),
        "conv_spatial": (c * c // 8 + 2 * c // 8 + 3**d * c // 8 + 1, n * (c * c // 8 + 3**d * c // 8)),
        "sse": sse,
        "gate": gate,
        "lee_gate": (c * f + cg * f + 2 * f + 4 * f + f + 1 + 2, n * (c * f + f) + ng * cg * f),
        "multi_gate": (
            2 * c * c + c + 2 * (2**d * c * f // 2 + cg * f // 2 + f // 2 + f // 2 + 1),
            n * 2 * c * c + gate[1],
        ),
        "hard": gate,
        "cbam": (se(c, 16)[0] + spatial, se(c, 16, 2)[1] + spatial * n),
        "scse": (se(c, 2)[0] + sse[0], se(c, 2)[1] + sse[1]),
        "bilinear": (
            c * 16 + 16 + 32 + 2 * (pairs * c + c) + 4 * c,
            n * (c * 16 + pairs * c) + pairs * c,
        ),
        "residual_mask": (
            2 * unit[0] + 4 * c + 2 * c * c + c,
            half * unit[1] + quarter * unit[1] + n * 2 * c * c,
        ),
        "self": (c * c // 2 + 3 * c // 8 + c + 1, c * c // 2 * n + c // 4 * n * n),
        "nonlocal": (2 * c * c + 3 * f + c, 2 * c * c * n + c * n * n),
        "cross": (c * f + 2 * cg * f + 3 * f + f * c + c, n * (2 * c * f) + ng * 2 * cg * f + c * n * ng),
        "deformable": (2 * c * c + 2 * c + chosen * c + chosen, n * (2 * c * c + chosen * c)),
        "stn": (
            8 * c + 8 + 32 * coarse + 32 + 32 * 2 * d + 2 * d + 3**d * c + 2 * c + c * c + c,
            4**d * 8 * c + 32 * coarse + 32 * 2 * d + n * (3**d * c + c * c),
        ),
        "glimpse": (
            4 * c + 4 + 64 * (glimpse + d + 128 + 64 + 64) + 5 * 64 + 2 * (64 * d + d) + 2,
            n * 4 * c + 3 * (64 * (glimpse + d + 128 + 64 + 64) + 2 * 64 * d),
        ),
        "decoder_channel": (c * c + cg * c + 2 * c, c * c + cg * c),
        "channel_self": (1, 2 * c * c * n),
        "bam": (
            2 * c * s + s + c + c * s + 3 * s + 2 * (s * s * 3**d + 3 * s) + s + 1,
            2 * c * s + n * (c * s + 2 * s * s * 3**d + s),
        ),
        "project_excite": (2 * c * f + f + c, n * 2 * c * f),
        "coordinate": (c * 8 + 24 + d * (8 * c + c), 2 * sum(grid) * c * 8),
        "triplet": ((d + 1) * (2 * k**d + 2), sum(2 * k**d * c * n // size for size in (c, *grid))),
        "polarized": (c + 3 * (c * f + f) + f * c + 3 * c, n * (c + 3 * c * f + f) + f * c),
        "simam": (0, 0),
        "large_kernel": (c * (5**d + 7**d + c) + 3 * c, n * c * (5**d + 7**d + c)),
        "efficient": (projections, n * (4 * c * c + 2 * c * c)),
        "external": (2 * c * c + c + 2 * 64 * c, n * (2 * c * c + 2 * 64 * c)),
        "paired": (
            projections + c * c + c + 8,
            n * (5 * c * c + 2 * c * c // 4 + 2 * c * math.prod(bounded_grid(grid, 64))),
        ),
        "window": (projections + 4 * (2 * edge - 1) ** d, n * 4 * c * c + boxed * edge**d * (2 * c + 4)),
        "axial": (d * projections, n * (d * 4 * c * c + 2 * c * sum(grid))),
        "selective_kernel": (2 * (3**d * c + 2 * c) + c * 32 + 64 + 2 * c * 33, n * 2 * c * 3**d + 3 * c * 32),
        "dynamic_conv": (
            4 * (c * c * 3**d + c) + c * c // 4 + c // 4 + c + 4,
            n * c * c * 3**d + 4 * (c * c * 3**d + c) + c * c // 4 + c,
        ),
        "state_space": (3 * (c * c + c) + 2 * d * 2 * 4 * c, n * (3 * c * c + c * sum(grid))),
        "sequential": (se(c, 16)[0] + spatial, se(c, 16)[1] + spatial * n),
        "parallel": (se(c, 16)[0] + sse[0], se(c, 16)[1] + sse[1]),
        "residual": (spatial, spatial * n),
        "recursive": (gate[0], 3 * gate[1]),
        "multiscale": (3 * spatial + 3, spatial * (n + half + quarter)),
    }


# What the open start adds to the published form, and what it leaves out.
OPEN = {"eca": 1, "spatial": 1, "cbam": 1, "sequential": 1, "residual": 1, "multiscale": 3, "fca": 256}
OPEN |= {
    "srm": -256,
    "bilinear": 256 - 1024,
    "channel_self": 1,
    "triplet": -3,
    "polarized": 1,
    "selective_kernel": -1024,
}


def count(name, channels, grid, **options):
    """Return parameters and multiply-accumulates, counted without computing."""
    attention = build(name, dims=len(grid), channels=channels, gate_channels=2 * channels, **options).eval()
    coarser = [-(-n // 2) for n in grid]
    inputs = [torch.empty(1, c, *g, device="meta") for c, g in ((channels, grid), (2 * channels, coarser))]
    return sum(p.numel() for p in attention.parameters()), count_macs(attention.to("meta"), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_the_closed_formulas(name):
    parameters, macs = count(name, 256, (56, 56), init="paper")
    formulas = published(256, 512, (56, 56))
    assert name in formulas, f"write the closed formula of {name} into published() above"
    assert (parameters, macs) == formulas[name]
    assert count(name, 256, (7, 5))[0] == parameters + OPEN.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_costs_in_3d(name):
    assert count(name, 256, (8, 6, 7), init="paper") == published(256, 512, (8, 6, 7))[name]


def test_table_of_the_literature():
    """The reference cell, C = 256 on 56 x 56, where copied tables have these wrong."""
    found = {name: measure(name, 256, (56, 56), init="paper") for name in ("spatial", "self", "se", "eca", "gct")}
    assert all((cost.parameters, cost.macs) == count(name, 256, (56, 56), init="paper") for name, cost in found.items())
    assert {name: cost.parameters for name, cost in found.items()} == {
        "spatial": 98,  # not 49: two pooled maps go in
        "self": 32_768 + 352 + 1,  # not 24,832: a fourth convolution brings the values back
        "se": 8_192 + 272,
        "eca": 5,
        "gct": 768,
    }
    assert found["self"].macs == 732_168_192
    # The gating signal has as many channels as the skip.
    lee = build("lee_gate", dims=2, channels=256, gate_channels=256, init="paper")
    assert sum(p.numel() for p in lee.parameters()) == 66_435


def test_the_yardstick():
    cost = measure_convolution(16, (8, 8, 8))
    assert (cost.parameters, cost.macs) == (27 * 16 * 16 + 16, 27 * 16 * 16 * 512)
    assert cost.forward_bytes >= 4 * 16 * 512


def test_memory_is_what_is_held_at_once():
    """The gate holds its result, which is as large as its input, and little else."""
    cost = measure("gate", 16, (32, 32, 32))
    features = 4 * 16 * 32**3
    assert features <= cost.forward_bytes < 1.5 * features
    assert cost.step_bytes > 3 * features
    assert cost.forward_seconds > 0
    assert cost.step_seconds > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_that_costs_more_than_a_tenth_of_a_convolution_says_so(name):
    """At 64 channels on 64 x 64 x 64, counted without computing."""
    attention = build(name, dims=3, channels=64, gate_channels=128).to("meta").eval()
    inputs = torch.empty(1, 64, 64, 64, 64, device="meta"), torch.empty(1, 128, 32, 32, 32, device="meta")
    assert expected(name).costly == (count_macs(attention, inputs) > 0.1 * 27 * 64 * 64 * 64**3)


PAIRWISE = [name for name, mechanism in MECHANISMS.items() if mechanism.kind == "pairwise"]


@pytest.mark.parametrize("name", ["self", *(pytest.param(n, marks=pytest.mark.long) for n in PAIRWISE[1:])])
def test_pairwise_stays_bounded_on_a_large_grid(name):
    """At 64 channels on 64 x 64 x 64, where all pairs of voxels would take 256 GiB."""
    attention = build(name, dims=3, channels=64, gate_channels=128)
    inputs = torch.randn(1, 64, 64, 64, 64), torch.randn(1, 128, 32, 32, 32)

    def step():
        attention(*inputs).features.sum().backward()

    with torch.no_grad():
        assert peak_bytes(lambda: attention(*inputs), torch.device("cpu")) < 2**30
    assert peak_bytes(step, torch.device("cpu")) < 2 * 2**30


def test_command_prints_every_mechanism(capsys):
    assert main(["attention", "--channels", "16", "--grid", "8,6,7"]) == 0
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [name for name in rows if name in (*NAMES, "3x3x3 convolution")] == [*NAMES, "3x3x3 convolution"]


def test_command_explains_a_name_and_measures_other_values_of_its_options(capsys):
    assert main(["attention", "scse", "{eca: {kernel: 5}}", "parallel", "--channels", "16", "--grid", "8,6"]) == 0
    printed = capsys.readouterr().out
    assert "scse: scSE (Roy, Navab, Wachinger)" in printed
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in printed.splitlines() if line.startswith("|")]
    assert ["combine", "max", "max or add"] in rows
    assert [row[0] for row in rows if "convolution" not in row[0]][-9:] == [
        "scse", "{scse: {reduction: 1}}", "{scse: {reduction: 4}}", "{scse: {combine: add}}", "{eca: {kernel: 5}}",
        "parallel", "{combine: add, parallel: [se, sse]}", "{combine: mean, parallel: [se, sse]}",
        "{combine: product, parallel: [se, sse]}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "8"], "--grid is 8: expected 2 or 3 whole numbers"),
        (["--grid", "8,-1"], "--grid is 8,-1: expected 2 or 3"),
        (["--channels", "0"], "--channels is 0: expected at least 1"),
        (["gat"], "no attention mechanism is called 'gat' (did you mean gate?)"),
        (["{se: {reductoin: 4}}"], "se has no option 'reductoin': expected reduction"),
        (["[se"], "[se is no specification, such as se or '{se: {reduction: 4}}'"),
        (["3"], "expected the name of an attention mechanism, a list of names or a mapping, got 3"),
        (["se", "--grid", "100000,100000,100000"], "one map of features takes"),
    ],
)
def test_wrong_calls(arguments, message, capsys):
    assert main(["attention", *arguments]) == 2
    assert message in capsys.readouterr().err
