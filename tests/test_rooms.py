"""Folders of the package import only from folders below them, and test files import no other test file."""

import ast

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "attention_unet"
ORDER = (  # the lowest first; those of one line do not import each other
    {"errors", "layers", "places", "ranges"},
    {"config"},
    {"files", "machine"},
    {"attention", "scans"},
    {"network", "dataset", "pictures"},
    {"preparation"},
    {"evaluation", "inference"},
    {"training", "export"},
    {"explanation", "report"},
    {"study"},
    {"cli"},
)


def test_folders_import_only_from_folders_below():
    allowed, below = {}, set()
    for rooms in ORDER:
        allowed |= {room: below | {room} for room in rooms}
        below = below | rooms
    assert {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} == {
        *below,
        "__init__",
        "__main__",
    }
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in allowed:
            nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
            names = [(node.module or "").split(".") for node in nodes]
            imported = {parts[1] for parts in names if parts[0] == PACKAGE.name and parts[1:]}
            assert imported <= allowed[room], f"{path}: {imported - allowed[room]}"


def test_test_files_import_no_other_test_file():
    for path in (REPOSITORY / "tests").rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = [part for node in nodes for part in (node.module or "").split(".") if node.module.startswith("tests")]
        assert not [name for name in names if name.startswith("test_")], path
