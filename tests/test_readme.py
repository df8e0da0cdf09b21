"""README and docs: examples run, commands are valid, the main path can be read in an afternoon."""

import re
import shlex

import pytest
import yaml

import attention_unet
from attention_unet.cli.call import build_parser, complete
from tests.conftest import REPOSITORY

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MODELS = REPOSITORY / "attention_unet" / "models"


def commands():
    """Every command of attention-unet in an indented block or in a code block."""
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            if line.startswith("    attention-unet "):
                yield pytest.param(re.split(r"#|\|", line)[0], id=f"{document.name}: {line.strip()}"[:90])


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_documents_is_valid(line, tmp_path, monkeypatch):
    """The parser accepts it; runs that it names are made up."""
    monkeypatch.chdir(REPOSITORY)
    words = shlex.split(line)[1:]
    if any(word.endswith("config.yaml") for word in words) or "--resume" in words:
        pytest.skip("needs the run that an earlier command makes")
    parser, _ = build_parser()
    assert parser.parse_args(complete(words)).command == words[0]


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_python_examples_run(document, cohort, tmp_path, monkeypatch):
    (tmp_path / "phantoms").symlink_to(cohort.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attention_unet, "predict_folder", lambda *a, **k: {}, raising=False)
    monkeypatch.setattr(attention_unet, "evaluate_folder", lambda *a, **k: ({}, {}), raising=False)
    examples = re.findall(r"```python\n(.*?)```", (REPOSITORY / document).read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, document, "exec"), {})


def test_the_readme_is_a_page():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_the_main_path_is_an_afternoon():
    page = (REPOSITORY / "docs" / "main_path.md").read_text(encoding="utf-8")
    files = re.findall(r"\]\(\.\./(attention_unet/[\w/]+\.py)\)", page)
    assert len(files) == len(set(files)) == 12
    assert sum(len((REPOSITORY / file).read_text(encoding="utf-8").splitlines()) for file in files) <= 2000


def test_every_page_is_in_the_readme():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCUMENTS[1:] if f"docs/{page.name}" not in text] == ["index.md"]


def test_every_public_name_can_be_imported():
    assert sorted(attention_unet.__all__) == sorted(set(attention_unet.__all__))
    for name in attention_unet.__all__:
        assert callable(getattr(attention_unet, name)), name
        assert f"`{name}" in (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8"), name


def test_the_version_is_one():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == attention_unet.__version__
