"""Exports compute what the network computes, carry what their use needs, and replace no file."""

import dataclasses
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from attention_unet.attention import NAMES
from attention_unet.cli import main
from attention_unet.errors import ConfigError
from attention_unet.export import program as module
from attention_unet.export.bundle import read_bundle, write_bundle
from attention_unet.export.export import compare_export, describe_model, export_model
from attention_unet.export.program import WindowNetwork, read_onnx, read_program, write_onnx, write_program
from attention_unet.inference.locator import Locator
from attention_unet.inference.model_file import load_model, save_model
from attention_unet.preparation.plan import Plan
from attention_unet.scans.labels import Labels
from attention_unet.scans.volumes import read_volume, volume_of_array
from tests.conftest import save_nifti
from tests.export.build import OVERLAPPING, made

FORMATS = {"pt2": (write_program, read_program), "onnx": (write_onnx, read_onnx), "bundle": (write_bundle, read_bundle)}


def need(form):
    if form == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("model", "window"),
    [
        pytest.param(made(), (2, 1, 16, 12, 8), marks=pytest.mark.long),
        pytest.param(made(), (1, 1, 24, 8, 16), marks=pytest.mark.long),
        pytest.param(made(dims=2), (3, 1, 16, 12), marks=pytest.mark.long),
        (made(labels=OVERLAPPING, channels=2), (1, 2, 16, 12, 8)),
    ],
    ids=["3-D", "another size", "2-D", "two channels, overlapping classes"],
)
def test_windows_get_the_same_probabilities(form, model, window, tmp_path):
    need(form)
    if form == "bundle" and window[2:] != tuple(n for n in model.plan.patch if n > 1):
        pytest.skip("a bundle has windows of one size")
    write, read = FORMATS[form]
    write(model, describe_model(model), tmp_path / "x")
    given = torch.randn(window)
    with torch.no_grad():
        expected = WindowNetwork(model)(given)
        torch.testing.assert_close(read(tmp_path / "x")(given), expected, atol=2e-5, rtol=0)
    total = expected.sum(dim=1)
    assert (model.plan.labels.overlapping) == (not torch.allclose(total, torch.ones_like(total)))


@pytest.mark.parametrize("form", ["pt2", "bundle", pytest.param("onnx", marks=pytest.mark.long)])
def test_another_network_is_noticed(form, tmp_path, monkeypatch):
    """An export that computes something else is refused."""
    need(form)
    model = made()
    if form == "bundle":
        trace = torch.jit.trace
        monkeypatch.setattr(
            torch.jit, "trace", lambda *given, **more: lambda window: trace(*given, **more)(window) + 0.01
        )
    else:
        run = getattr(module, "_run_onnx" if form == "onnx" else "_run_program")
        monkeypatch.setattr(module, run.__name__, lambda source: lambda window: run(source)(window) + 0.01)
    with pytest.raises(ConfigError, match="not close"):
        FORMATS[form][0](model, {}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_mechanism_is_exported(name, dims, form, tmp_path, real_data):
    """With random weights, on a window of a real crop. ONNX also runs in OpenVINO, if that is installed."""
    need(form)
    model = made(skips=name, dims=dims)
    FORMATS[form][0](model, {}, tmp_path / "x")
    values = read_volume(real_data / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz").array[0]
    sizes = zip(values.shape, model.plan.patch, strict=True)
    window = values[tuple(slice((have - n) // 2, (have - n) // 2 + n) for have, n in sizes)]
    given = torch.from_numpy((window - values.mean()) / values.std()).reshape(1, 1, *model.plan.window)
    with torch.no_grad():
        expected = WindowNetwork(model)(given)
    torch.testing.assert_close(FORMATS[form][1](tmp_path / "x")(given), expected, atol=1e-4, rtol=0)
    if form == "onnx" and find_spec("openvino"):
        import openvino

        content, exact = (tmp_path / "x").read_bytes(), {"INFERENCE_PRECISION_HINT": "f32"}
        if dims == 3 and name in ("deformable", "stn", "glimpse"):  # see docs/exporting.md
            with pytest.raises(RuntimeError, match="GridSample is only supported for 4D input tensors"):
                openvino.Core().read_model(content)
            return
        program = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU", exact)
        found = torch.from_numpy(program(given.numpy())[0])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_onnx_tells_what_its_use_needs(hippocampus_onnx):
    import onnx

    content = onnx.load(hippocampus_onnx)
    onnx.checker.check_model(content)
    facts = {entry.key: entry.value for entry in content.metadata_props}
    model = load_model("hippocampus")
    assert Plan.from_json(json.loads(facts["plan"])) == model.plan
    assert json.loads(facts["labels"])[1] == {"integer": 2, "name": "Posterior", "colour": "#ff7f0e"}
    assert json.loads(facts["sizes"]) == {"multiple_of": [8, 8, 8]}
    beside = json.loads(hippocampus_onnx.with_name(f"{hippocampus_onnx.name}.json").read_text())
    assert {name: each if isinstance(each, str) else json.dumps(each) for name, each in beside.items()} == facts
    assert facts["model_sha256"] == model.sha256
    assert [value.name for value in (*content.graph.input, *content.graph.output)] == ["window", "probabilities"]


def test_attention_that_averages_keys_on_large_grids_gets_one_size(tmp_path):
    write_program(made(skips="nonlocal"), {}, tmp_path / "x.pt2")
    facts = {"model.json": ""}
    torch.export.load(tmp_path / "x.pt2", extra_files=facts)
    assert list(json.loads(facts["model.json"])["sizes"]) == ["exactly"]  # of others see test_onnx_tells...


def test_a_program_agrees_on_scans_and_runs_without_this_package(tmp_path, capsys):
    random = np.random.RandomState(0)
    for name in ("a", "c"):
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", random.normal(100, 20, (16, 12, 16)), np.eye(4))
    (tmp_path / "scans" / "b.nii.gz").write_text("no scan")
    file = str(tmp_path / "x.pt2")
    model = made()
    save_model(tmp_path, model.network.state_dict(), model.plan, {})
    assert main(["export", "-m", str(tmp_path), "--to", "pt2", "-o", file, "--check", str(tmp_path / "scans")]) == 1
    shown = capsys.readouterr().err
    for name in ("a", "c"):
        assert f"{name}: largest difference of a probability" in shown
    assert shown.count("100.0000 % of labels are the same") == 2
    assert "b.nii.gz" in shown.split("not compared: ")[1]
    script = """
import sys, torch
sys.modules["attention_unet"] = None  # cannot be imported
facts = {"model.json": ""}
program = torch.export.load(sys.argv[1], extra_files=facts)
print(program.module()(torch.zeros(1, 1, 16, 12, 8)).shape, '"b"' in facts["model.json"])
"""
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", script, file], capture_output=True, text=True)
    assert found.stdout == "torch.Size([1, 3, 16, 12, 8]) True\n", found.stderr


def test_what_predict_does_beside_the_network_is_told(tmp_path, caplog):
    model, coarse = made(), made(labels=Labels({"structures": (1,)}, (1,)))
    plan = dataclasses.replace(model.plan, region_mm=(30.0, 31.0, 32.0))
    locator = Locator(coarse.network, coarse.plan, (2, 2, 2))
    save_model(tmp_path, model.network.state_dict(), plan, {"component_gains": {"b": [4, 0.4, 0.04]}}, locator)
    export_model(tmp_path, "pt2", tmp_path / "x.pt2")
    assert "the locator is not exported: first crop scans around the structures, to about 30 x 31 x 32" in caplog.text
    assert "predict drops small components of b, the export does not" in caplog.text


def test_the_check_does_without_the_locator_as_programs_do_that_use_the_export(monkeypatch):
    monkeypatch.setattr(sys.modules["attention_unet.inference.predict_volume"], "is_cut", lambda *_: False)
    model, coarse = made(), made(labels=Labels({"structures": (1,)}, (1,)))
    scan = volume_of_array(np.random.RandomState(0).normal(100, 20, (32, 24, 16)), np.diag([1.0, 1.0, 2.0, 1.0]))
    assert compare_export(model, WindowNetwork(model), scan).endswith("100.0000 % of labels are the same")
    located = dataclasses.replace(model, locator=Locator(coarse.network, coarse.plan, (2, 2, 2)))
    with mock.patch.object(Locator, "locate", return_value=[(0, 8), (0, 8), (0, 8)]):
        assert not compare_export(located, WindowNetwork(model), scan).endswith("100.0000 % of labels are the same")


def test_wrong_calls(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    call = ["export", "-m", "hippocampus", "--to", "onnx", "-o"]
    assert main([*call, str(tmp_path / "mine")]) == 2
    assert "mine: exists: name another file, or remove it" in capsys.readouterr().err
    (tmp_path / "new.json").write_text("mine")
    assert main([*call, str(tmp_path / "new")]) == 2
    assert "new.json: exists: name another file, or remove it" in capsys.readouterr().err
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
    (tmp_path / "new.json").unlink()
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main([*call, str(tmp_path / "new")]) == 2
    told = "ONNX needs onnxscript, which is not installed: pip install 'attention-unet[onnx]'"
    assert told in capsys.readouterr().err
    assert main(["export", "-m", "hippocampus", "--to", "tflite", "-o", str(tmp_path / "new")]) == 2
    assert main(["export", "-m", str(tmp_path), "--to", "pt2", "-o", str(tmp_path / "new")]) == 2
    assert "holds no model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_several_models_are_refused(tmp_path):
    for fold in range(2):
        folder = tmp_path / "cv" / f"fold{fold}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(Path(load_model("hippocampus").file).read_bytes())
        (folder / "predictions").mkdir()
        (folder / "predictions" / "run.json").write_text('{"complete": true}')
    with pytest.raises(Exception, match=r"stands for 2 models: name one of them, such as .*fold0"):
        export_model(tmp_path / "cv", "pt2", tmp_path / "x")


def test_real_windows_agree_with_the_network_in_double_precision(real_data, hippocampus_onnx):
    """The group normalisation of torch is the less exact one: in single precision it differs by more than ONNX."""
    model = load_model("hippocampus")
    run, exact = read_onnx(hippocampus_onnx), WindowNetwork(model).double().eval()
    for scan in sorted((real_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[:4]:
        values = read_volume(scan).array[0]
        window = torch.zeros(1, 1, *model.plan.patch)
        box = tuple(slice(min(pair)) for pair in zip(values.shape, model.plan.patch, strict=True))
        window[0, 0][box] = torch.from_numpy((values - values.mean()) / values.std())[box]
        with torch.no_grad():
            torch.testing.assert_close(run(window).double(), exact(window.double()), atol=1e-4, rtol=0)
