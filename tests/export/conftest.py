"""The shipped model as ONNX, exported once."""

from pathlib import Path

import pytest

from attention_unet.export.export import export_model


@pytest.fixture(scope="session")
def hippocampus_onnx(tmp_path_factory) -> Path:
    """Return the ONNX file of the shipped model; skip the test if packages lack."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    file = tmp_path_factory.mktemp("onnx") / "hippocampus.onnx"
    export_model("hippocampus", "onnx", file)
    return file
