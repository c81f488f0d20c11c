"""Checkers for single files: unsafe loads, prints, swallowed exceptions, missing docstrings, paths of one machine."""

from __future__ import annotations

import ast
import re

from tests.house.repo import Source

# Where catching everything is the job: "path::function" -> why. Empty is how it should stay.
CATCHES_EVERYTHING: dict[str, str] = {}

# An absolute path that exists on somebody's machine. Placeholders are written DIR or /path/to.
MACHINE_PATH = re.compile(r"(?<![\w.$}>~/-])/(?:work|root|home|Users)(?=/|[\"'`\s]|$)")
# The address of a package index ends like this; which index is used is a matter of the machine, not of the project.
INDEX_ADDRESS = re.compile(r"https?://\S*/(?:simple|whl)\b")


def unsafe_loads(source: Source) -> list[str]:
    """torch.load without weights_only=True runs whatever code the file holds."""
    found = []
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "torch.load":
            continue
        safe = any(
            word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True
            for word in node.keywords
        )
        if not safe:
            found.append(f"{source.path}:{node.lineno}: torch.load without weights_only=True")
    return found


def is_entry_point(source: Source) -> bool:
    """A module that people run: it is named __main__ or cli, or it ends in `if __name__ == "__main__"`."""
    if source.path.rsplit("/", 1)[-1] in ("__main__.py", "cli.py"):
        return True
    return any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in source.tree.body)


def prints(source: Source) -> list[str]:
    """print() to standard output where nobody asked for output; print(file=…) says where it goes and is fine."""
    if is_entry_point(source):
        return []
    return [
        f"{source.path}:{node.lineno}: print outside an entry point: use logging, or return the text"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not any(word.arg == "file" for word in node.keywords)
    ]


def _names_everything(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def _ends_elsewhere(handler: ast.ExceptHandler) -> bool:
    """Does the last statement of the handler raise? Anything else goes on as if nothing had happened."""
    return isinstance(handler.body[-1], ast.Raise)


def swallowed(source: Source) -> list[str]:
    """`except Exception` (or a bare except, or suppress) that goes on."""
    found: list[str] = []

    def look(node: ast.AST, function: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
        bad = isinstance(node, ast.ExceptHandler) and _names_everything(node.type) and not _ends_elsewhere(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
            bad = any(_names_everything(argument) for argument in node.args)
        if bad and f"{source.path}::{function}" not in CATCHES_EVERYTHING:
            found.append(f"{source.path}:{node.lineno}: catches everything and goes on")  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            look(child, function)

    look(source.tree, "")
    return found


def missing_docstring(source: Source) -> list[str]:
    """A module opens with one sentence that says its job."""
    return [] if ast.get_docstring(source.tree) else [f"{source.path}:1: says no word about its job"]


def machine_paths(name: str, text: str) -> list[str]:
    """Absolute paths of one machine in any text file."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]


def index_addresses(name: str, text: str) -> list[str]:
    """Addresses of package indexes in any text file."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        if INDEX_ADDRESS.search(line)
    ]
