"""Does every parity test notice one altered term? ``python -m tests.alterations`` alters them one by one in a copy.

Each line names a file of ``attention_unet/attention``, a term, what it becomes, and the tests that must fail then.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = Path("attention_unet") / "attention"
TESTS = Path("tests") / "attention"

# file, term, altered, tests below tests/attention
ALTERATIONS = [
    ("channel/squeeze_excitation.py", "voxels.mean(dim=2)", "voxels.sum(dim=2)", "channel/test_squeeze_excitation.py"),
    ("channel/squeeze_excitation.py", "voxels.amax(dim=2)", "voxels.mean(dim=2)", "channel/test_squeeze_excitation.py"),
    ("channel/squeeze_excitation.py", "F.relu(self.reduce(", "F.silu(self.reduce(", "channel/test_squeeze_excitation.py"),
    ("channel/efficient_channel.py", "(math.log2(channels) + 1)", "math.log2(channels)", "channel/test_efficient_channel.py"),
    ("channel/efficient_channel.py", "squeezed[:, None]", "squeezed[:, None].flip(2)", "channel/test_efficient_channel.py"),
    ("channel/gated_channel.py", "1 + torch.tanh", "torch.tanh", "channel/test_gated_channel.py"),
    ("channel/gated_channel.py", "self.alpha * norms", "norms", "channel/test_gated_channel.py"),
    ("channel/gated_channel.py", "square().mean(dim=1", "square().sum(dim=1", "channel/test_gated_channel.py"),
    ("channel/gaussian_context.py", "(2 * width**2)", "(2 * width)", "channel/test_gaussian_context.py"),
    ("channel/gaussian_context.py", "(z - mean) ** 2", "z**2", "channel/test_gaussian_context.py"),
    ("channel/style_recalibration.py", "min(1, precise.shape[2] - 1)", "0", "channel/test_style_recalibration.py"),
    ("channel/style_recalibration.py", ".sqrt()", "", "channel/test_style_recalibration.py"),
    ("channel/style_recalibration.py", "z = self.norm(z)", "z = z", "channel/test_style_recalibration.py"),
    ("channel/second_order.py", "centred = reduced - reduced.mean(dim=2, keepdim=True)", "centred = reduced", "channel/test_second_order.py"),
    ("channel/second_order.py", "F.relu(self.norm(self.reduce(F.relu(x))))", "F.relu(self.norm(self.reduce(x)))", "channel/test_second_order.py"),
    ("channel/second_order.py", "self.rows(self.row_norm(covariance))", "self.rows(covariance)", "channel/test_second_order.py"),
    ("channel/frequency.py", "dtype=precise) + 0.5", "dtype=precise)", "channel/test_frequency.py"),
    ("channel/frequency.py", "2 / n", "1 / n", "channel/test_frequency.py"),
    ("channel/frequency.py", "clamp(max=n - 1)", "mul(n // GRID)", "channel/test_frequency.py"),
    ("channel/context_encoding.py", "torch.softmax(-self.scales", "torch.softmax(self.scales", "channel/test_context_encoding.py"),
    ("channel/context_encoding.py", "residual = gathered - share.mean(dim=2)[..., None] * self.codewords", "residual = gathered", "channel/test_context_encoding.py"),
    ("channel/context_encoding.py", "- 2 * torch.einsum", "- torch.einsum", "channel/test_context_encoding.py"),
    ("channel/context_encoding.py", "F.relu(self.norm(residual)).mean(dim=1)", "self.norm(residual).mean(dim=1)", "channel/test_context_encoding.py"),
    ("spatial/pooled_spatial.py", "x.amax(dim=1, keepdim=True)", "x.mean(dim=1, keepdim=True)", "spatial/test_pooled_spatial.py"),
    ("spatial/pooled_spatial.py", "[x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)]", "[x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)]", "spatial/test_pooled_spatial.py"),
    ("spatial/conv_spatial.py", "F.relu(self.norm(", "(self.norm(", "spatial/test_conv_spatial.py"),
    ("spatial/channel_squeeze.py", "torch.sigmoid(self.squeeze(x))", "torch.sigmoid(2 * self.squeeze(x))", "spatial/test_channel_squeeze.py"),
    ("spatial/additive_gate.py", "F.relu(projected_x + projected_gate)", "F.relu(projected_x) + F.relu(projected_gate)", "spatial/test_additive_gate.py"),
    ("spatial/additive_gate.py", "alpha = torch.sigmoid(self.logits", "alpha = torch.tanh(self.logits", "spatial/test_additive_gate.py"),
    ("spatial/additive_gate.py", "return Attended(x * alpha, alpha)", "return Attended(x * (1 - alpha), alpha)", "spatial/test_additive_gate.py"),
    ("spatial/lee_gate.py", "F.relu(self.project_x(x) + signal)", "self.project_x(x) + signal", "spatial/test_lee_gate.py"),
    ("spatial/lee_gate.py", "BatchNorm(hidden))\n        self.project_gate", "nn.Identity())\n        self.project_gate", "spatial/test_lee_gate.py"),
    ("spatial/multi_gate.py", "torch.cat([part.features for part in parts], dim=1)", "torch.cat([x for part in parts], dim=1)", "spatial/test_multi_gate.py"),
    ("spatial/hard_gate.py", "logits = logits + logistic_noise(logits)", "logits = logits", "spatial/test_hard_gate.py"),
    ("spatial/hard_gate.py", "(soft - soft.detach())", "0 * soft", "spatial/test_hard_gate.py"),
    ("spatial/hard_gate.py", "uniform.log() - torch.log1p(-uniform)", "uniform.log()", "spatial/test_hard_gate.py"),
    ("mixed/bilinear.py", "products.flatten(2).mean(dim=2)", "products.flatten(2).amax(dim=2)", "mixed/test_bilinear.py"),
    ("mixed/bilinear.py", "outer, inner = F.relu(outer), F.relu(inner)", "outer, inner = outer, F.relu(inner)", "mixed/test_bilinear.py"),
    ("mixed/bilinear.py", "self.pairs[0]] * reduced[:, self.pairs[1]]", "self.pairs[0]] * reduced[:, self.pairs[0]]", "mixed/test_bilinear.py"),
    ("mixed/mask_branch.py", "return x + self.body(x)", "return self.body(x)", "mixed/test_mask_branch.py"),
    ("mixed/mask_branch.py", "joined = fine + self._resample(coarse, fine)", "joined = self._resample(coarse, fine)", "mixed/test_mask_branch.py"),
    ("pairwise/scaled_dot_product.py", "width**-0.5 if scaled else 1.0", "1.0", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/scaled_dot_product.py", "value, scale=scale).squeeze(1)", "value, scale=2 * scale).squeeze(1)", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/scaled_dot_product.py", "(0, fused - part.shape[2])", "(fused - part.shape[2], 0)", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/scaled_dot_product.py", "keys.transpose(1, 2) * self.scale, dim=2).sum(dim=1)", "keys.transpose(1, 2) * self.scale, dim=1).sum(dim=1)", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/self_attention.py", "x + self.gamma * gathered", "self.gamma * gathered", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/nonlocal_block.py", "return x", "return x.flip(1)", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/cross_attention.py", "x + self.project(gathered)", "self.project(gathered)", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/cross_attention.py", "self.gather(x, self.source(x, gate))", "self.gather(x, self.source(x, gate).flip(2))", "pairwise/test_scaled_dot_product.py"),
    ("pairwise/deformable.py", "torch.softmax(logit, dim=1)", "torch.sigmoid(logit)", "pairwise/test_deformable.py"),
    ("pairwise/deformable.py", "(2 * positions.movedim(1, -1) + 1) / sizes - 1", "2 * positions.movedim(1, -1) / (sizes - 1) - 1", "pairwise/test_deformable.py"),
    ("pairwise/deformable.py", "return scaled.flip(-1)", "return scaled", "pairwise/test_deformable.py"),
    ("geometric/box.py", "-centre / extent, 1 / extent, size", "-centre, 1 / extent, size", "geometric/test_box.py"),
    ("geometric/box.py", "extent[:, axis, None].to(dtype)", "extent[:, 0, None].to(dtype)", "geometric/test_box.py"),
    ("geometric/box.py", "grid, align_corners=False)", "grid, align_corners=True)", "geometric/test_box.py"),
    ("geometric/spatial_transformer.py", "self.look(cut_out(x, centre, extent, grid))", "self.look(x)", "geometric/test_spatial_transformer.py"),
    ("geometric/spatial_transformer.py", "x + put_back(content, centre, extent, grid)", "x + content", "geometric/test_spatial_transformer.py"),
    ("geometric/glimpse.py", "0.5**level", "1.0", "geometric/test_glimpse.py"),
    ("geometric/glimpse.py", "self.remember(state) + self.take_in(glimpse)", "self.take_in(glimpse)", "geometric/test_glimpse.py"),
    ("geometric/glimpse.py", "self.retina(seen, centre)", "self.retina(seen, 0 * centre)", "geometric/test_glimpse.py"),
    ("wrappers/sequential.py", "x, weights = part(x, gate)", "_, weights = part(x, gate)", "wrappers/test_wrappers.py"),
    ("wrappers/parallel.py", "(weights > joined) == (x >= 0)", "weights > joined", "spatial/test_channel_squeeze.py"),
    ("wrappers/residual.py", "Attended(x + features", "Attended(features", "wrappers/test_wrappers.py"),
    ("wrappers/recursive.py", "results[-1].features if results else x", "x", "wrappers/test_wrappers.py"),
    ("wrappers/multiscale.py", "grid = [-(-n // 2**i) for n in x.shape[2:]]", "grid = list(x.shape[2:])", "wrappers/test_wrappers.py"),
]  # fmt: skip


def run(tests: str, copy: Path, environment: dict[str, str]) -> int:
    """Exit code of pytest: 0 if the tests pass, 1 if one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(TESTS / tests)]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, check=False).returncode


def main() -> int:
    """Alter, test, restore; the exit code says whether every alteration was noticed."""
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "docs", "demo", "runs", "*.egg-info"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        for tests in sorted({tests for *_, tests in ALTERATIONS}):
            if run(tests, copy, environment) != 0:
                raise SystemExit(f"{tests}: fails unaltered: nothing can be learned from it")
        for file, term, altered, tests in ALTERATIONS:
            path = copy / PACKAGE / file
            source = path.read_text(encoding="utf-8")
            if term not in source:
                raise SystemExit(f"{file}: holds no {term!r}: bring the list up to date")
            path.write_text(source.replace(term, altered), encoding="utf-8")
            noticed = run(tests, copy, environment) == 1
            path.write_text(source, encoding="utf-8")
            print(f"{'noticed' if noticed else 'NOT NOTICED'}: {file}: {term} -> {altered}", flush=True)
            if not noticed:
                unnoticed.append(file)
    print(f"{len(ALTERATIONS) - len(unnoticed)} of {len(ALTERATIONS)} alterations noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
