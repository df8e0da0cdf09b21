"""Build mechanisms with random parameters, and inputs for them."""

import torch

from attention_unet.attention import build


def trained(module, std=0.7):
    """Return a module in double precision and eval mode."""
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


def make(name, dims, channels=6, **options):
    torch.manual_seed(0)
    return build(name, dims=dims, channels=channels, gate_channels=9, **options)


def randomised(name, dims, channels=6, **options):
    """Trained mechanisms are not open: all parameters are drawn anew."""
    attention = make(name, dims, channels, **options)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.5)
    return attention


def inputs(grid, dtype=torch.float32, batch=1, channels=6):
    torch.manual_seed(1)
    x = torch.randn(batch, channels, *grid, dtype=dtype)
    return x, torch.randn(batch, 9, *(-(-n // 2) for n in grid), dtype=dtype)
