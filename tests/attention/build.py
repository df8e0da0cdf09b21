"""Build mechanisms with random parameters, in double precision and eval mode."""

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
    """Return NumPy parameters by name."""
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}
