"""Build metrics for tests."""

from math import nan

from attention_unet.evaluation.metrics import METRICS, CaseMetrics


def metrics(**given):
    """Return the metrics of a case; those that are not given are undefined."""
    return CaseMetrics(**{**dict.fromkeys(METRICS, nan), **given})
