"""Mechanisms as if trained: all parameters drawn anew, in double precision, in eval mode."""

import torch


def trained(module, std=0.7):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std)
    return module.double().eval()


def image(*shape):
    torch.manual_seed(4)
    return torch.randn(*shape, dtype=torch.float64)


def arrays(module):
    """Parameters by name, as NumPy arrays."""
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}
