"""Reference of the additive gate, from its equation, voxel by voxel of its grid. The kernel equals the stride."""

import itertools

import numpy as np


def gate_alpha(x, gate, weight_x, weight_gate, bias_gate, weight_psi, bias_psi):
    """Return alpha on the gate's grid. x: (C, *S); gate: (Cg, *S/stride); weights: torch's layout."""
    hidden, _, *kernel = weight_x.shape
    alpha = np.zeros(gate.shape[1:])
    for voxel in itertools.product(*(range(n) for n in gate.shape[1:])):
        block = x[(slice(None), *(slice(v * k, (v + 1) * k) for v, k in zip(voxel, kernel, strict=True)))]
        total = bias_psi
        for h in range(hidden):
            q = (
                (weight_x[h] * block).sum()
                + (weight_gate[h].ravel() * gate[(slice(None), *voxel)]).sum()
                + bias_gate[h]
            )
            total += weight_psi[h] * max(q, 0.0)
        alpha[voxel] = 1 / (1 + np.exp(-total))
    return alpha
