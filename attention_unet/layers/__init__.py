"""Convolutions for 2-D and 3-D, and normalisation for any batch and grid."""
