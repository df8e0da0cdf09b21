"""Alterations of ``tests.alterations`` that change nothing anyone could see, by file, each with the reason."""

HARMLESS: dict[str, dict[str, str]] = {
    "spatial/additive_gate.py": {
        "if projected_gate.shape[2:] != grid: -> if projected_gate.shape[3:] != grid:": (
            "resampling to the same grid changes nothing"
        ),
    },
    "spatial/lee_gate.py": {
        f"if signal.shape[2:] != x.shape[2:]: -> if {condition}:": "resampling to the same grid changes nothing"
        for condition in ("signal.shape[3:] != x.shape[2:]", "signal.shape[2:] != x.shape[3:]")
    },
    "mixed/large_kernel.py": {
        "far += (far + 1) % 2 -> far += (far - 1) % 2": "both are odd or both are even",
    },
    "spatial/hard_gate.py": {
        "uniform = torch.rand_like(like, dtype=torch.float32).clamp(1e-06, 1 - 1e-06) -> "
        f"uniform = torch.rand_like(like, dtype=torch.float32).clamp({bounds})": (
            "any bounds near 0 and 1 keep the logarithm finite"
        )
        for bounds in ("2e-06, 1 - 1e-06", "1e-06, 1 - 2e-06")
    },
    "kernel/dynamic_convolution.py": {
        "noise = 0.01 * torch.randn_like(layer.weight) * layer.weight[0].numel() ** (-0.5) -> "
        "noise = 0.01 * torch.randn_like(layer.weight) * layer.weight[1].numel() ** (-0.5)": (
            "all filters have the same number of weights"
        ),
    },
    "wrappers.py": {
        "if not inners[0].multiplies: -> if not inners[1].multiplies:": "all scales have the same mechanism",
        "if weights is not None and step.weights is not None: -> if weights is not None or step.weights is not None:": (
            "what multiplies always returns its weights; the types ask for the condition"
        ),
    },
    "pairwise/external.py": {
        "gathered = asked / (asked.sum(dim=2, keepdim=True) + 1e-09) @ values -> "
        f"gathered = asked / (asked.sum(dim=2, keepdim=True) {constant}) @ values": "it is far below any sum of shares"
        for constant in ("- 1e-09", "+ 2e-09")
    },
    "pairwise/window.py": {
        "numbers = torch.zeros(offsets.shape[1:], dtype=torch.long) -> "
        "numbers = torch.zeros(offsets.shape[2:], dtype=torch.long)": "the first sum has the shape of the offsets",
        "FAR = 10000.0 -> FAR = 20000.0": "any number far beyond the products keeps voxels out",
        "outside = ((inside - 1) * FAR / scale).expand(-1, self.heads, -1, -1) -> "
        "outside = ((inside - 1) * FAR * scale).expand(-1, self.heads, -1, -1)": "it is still far beyond the products",
        "outside = ((inside - 1) * FAR / scale).expand(-1, self.heads, -1, -1) -> "
        "outside = ((inside - 1) * FAR / scale).expand(-1, self.heads, -1, 1)": "the last axis has one element",
    },
    "pairwise/scaled_dot_product.py": {
        "MAX_KEYS = 4096 -> MAX_KEYS = 4097": "a bound of memory: one more key is no different",
        "MAX_QUERIES = 4096 -> MAX_QUERIES = 4097": "a bound of memory: one more query is no different",
        "for chunk in torch.split(queries, 512, dim=2): -> for chunk in torch.split(queries, 513, dim=2):": (
            "a bound of memory: one more query at a time is no different"
        ),
    },
}
