"""Attention between kernels: convolutions are weighted, not features."""
