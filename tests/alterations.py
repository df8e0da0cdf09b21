"""Do the tests notice every altered term of attention? ``python -m tests.alterations [FILE ...]``, in a copy.

Terms are altered one at a time, by rule and without regard to the tests: a sum becomes a difference, a mean a sum, a
condition its opposite, a number another. For each, the unit tests of the file run, then the tests of every mechanism
that is built from it. Alterations that change nothing anyone could see are in ``HARMLESS``, with the reason.
"""

import argparse
import ast
import copy
import io
import os
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from attention_unet.attention import NAMES, build
from tests.harmless_alterations import HARMLESS

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = Path("attention_unet", "attention"), Path("tests", "attention")
UNALTERED = (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)
GENERAL = ("contract", "start", "subject", "options", "errata", "cost")  # tests of all mechanisms
SLOW = ("compiles", "exported", "command", "literature")  # words in the names of tests that are left out
LIMIT = 300  # seconds of a core for the tests of one alteration

OPERATORS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
OPERATORS |= {ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And}
OPERATORS |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt}
FUNCTIONS = {"mean": "sum", "sum": "mean", "amax": "mean", "softmax": "log_softmax", "sigmoid": "tanh", "relu": "silu"}
FUNCTIONS |= {"tanh": "sigmoid", "max": "min", "min": "max", "exp": "log", "sqrt": "square", "square": "abs"}
FUNCTIONS |= {"all": "any", "any": "all", "hardswish": "relu", "round": "floor", "zeros_": "ones_", "ones_": "zeros_"}


def alter(node: ast.AST) -> Iterator[Callable[[ast.AST], ast.AST | None]]:
    """Yield the alterations of a node: each changes a copy of it in place, or returns what takes its place."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OPERATORS:
        yield lambda n: setattr(n, "op", OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
        yield lambda n: setattr(n, "ops", [OPERATORS[type(node.ops[0])]()])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda n: node.operand
    elif isinstance(node, ast.If | ast.IfExp):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: setattr(n, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield lambda n: setattr(n, "value", node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield lambda n: setattr(n, "value", node.value * 2 or 1.0)
    elif isinstance(node, ast.Attribute | ast.Name):
        field = "attr" if isinstance(node, ast.Attribute) else "id"
        if getattr(node, field) in FUNCTIONS:
            yield lambda n: setattr(n, field, FUNCTIONS[getattr(node, field)])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("flip", "clamp"):
        receiver = node.func.value
        yield lambda n: receiver
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and "super" not in ast.unparse(node):
        yield lambda n: ast.Pass()


def altered_sources(source: str) -> Iterator[tuple[str, str]]:
    """Yield each altered source with a description: the line, before and after."""
    tree = ast.parse(source)
    found = list(terms(tree))
    for place in range(len(found)):
        for change in alter(found[place]):
            other = copy.deepcopy(tree)
            node = list(terms(other))[place]
            instead = change(node)
            if instead is not None:
                Replace(node, instead).visit(other)
            before, after = (ast.unparse(t).splitlines() for t in (tree, other))
            lines = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
            text = f"{lines[0][0].strip()} -> {lines[0][1].strip()}" if lines else "(a line was removed)"
            yield ast.unparse(ast.fix_missing_locations(other)), text


def terms(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk through all but types, messages of errors, imports, texts, the call of ``forward``, and checks of zip."""
    yield tree
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns") or isinstance(tree, UNALTERED):
            continue
        if isinstance(tree, ast.FunctionDef) and tree.name == "forward" and field == "args":
            continue
        if isinstance(tree, ast.keyword) and tree.arg == "strict":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from terms(child)


class Replace(ast.NodeTransformer):
    """Put another node in the place of one."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the new node for the old one."""
        return self.new if node is self.old else self.generic_visit(node)


def tests_of(file: Path) -> tuple[list[str], list[str]]:
    """Return the tests of a file of ``PACKAGE``: those of its own, and those of the mechanisms built from it."""
    own = TESTS / file.parent / f"test_{file.name}"
    module = ".".join((PACKAGE / file).with_suffix("").parts)
    names = {
        name
        for name in NAMES
        for part in build(name, dims=2, channels=16).modules()
        if any(kind.__module__ == module for kind in type(part).__mro__)
    }
    return [str(own) if (ROOT / own).exists() else str(TESTS / file.parent)], cases_of(frozenset(names))


def cases_of(names: frozenset[str]) -> list[str]:
    """Return the test cases of some names, without slow ones."""
    general = [str(TESTS / f"test_{name}.py") for name in GENERAL]
    listed = io.StringIO()
    with redirect_stdout(listed):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0", *general])
    lines = [line for line in listed.getvalue().splitlines() if "::" in line]
    cases = [line for line in lines if not any(word in line for word in SLOW)]
    named = {case: set(re.split(r"[\[\]-]", case)) & set(NAMES) for case in cases}
    return [case for case in cases if not named[case] or named[case] & names]


def fails(tests: Sequence[str], folder: Path) -> bool:
    """Return whether a test fails in a folder. The process is forked, so that torch is imported once."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))  # an altered loop may not end
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("attention_unet", "tests")]:
            del sys.modules[name]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-n", "0", *tests])
        os._exit(int(code != pytest.ExitCode.OK))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def main() -> int:
    """Alter, test, restore; the exit code says whether every alteration was noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="below attention_unet/attention; default: all mechanisms")
    files = parser.parse_args().files or sorted(p.relative_to(ROOT / PACKAGE) for p in (ROOT / PACKAGE).glob("*/*.py"))
    torch.set_num_threads(1)
    noticed, harmless, unnoticed = 0, 0, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "demo", "runs", "*.egg-info", "__pycache__"))
        for file in files:
            path, (own, others) = folder / PACKAGE / file, tests_of(file)
            source = path.read_text(encoding="utf-8")
            if fails(own, folder) or fails(others, folder):
                raise SystemExit(f"{file}: its tests fail unaltered: nothing can be learned from them")
            for altered, text in altered_sources(source):
                if text in HARMLESS.get(str(file), {}):
                    harmless += 1
                    continue
                path.write_text(altered, encoding="utf-8")
                if fails(own, folder) or fails(others, folder):
                    noticed += 1
                else:
                    unnoticed.append(text)
                    print(f"NOT NOTICED: {file}: {text}", flush=True)
            path.write_text(source, encoding="utf-8")
            print(f"{file}: done; {noticed} noticed, {harmless} harmless, {len(unnoticed)} not noticed", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
