"""The import law as a table and a checker: who may import whom, read off the syntax tree without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from tests.house.repo import Source


class Floor(NamedTuple):
    """Units that stand on the same floor. Each may import everything below; its neighbours only where said."""

    units: tuple[str, ...]
    neighbours_meet: bool = False


# From the ground up. A unit is a module or a package with all that is in it. A new module: add it here.
FLOORS = (
    Floor(("SPHINX_V.errors",)),
    Floor(("SPHINX_V.prompts", "SPHINX_V.config", "SPHINX_V.inputs"), neighbours_meet=True),
    Floor(("SPHINX_V.processing", "SPHINX_V.model", "SPHINX_V.overlay", "SPHINX_V.mark_flags")),
    Floor(("SPHINX_V.weights", "SPHINX_V.parallel", "SPHINX_V.generation")),
    Floor(("SPHINX_V.sphinx_v",)),
    Floor(("SPHINX_V.inference", "SPHINX_V.__main__"), neighbours_meet=True),
    Floor(("accessory.runtime", "accessory.config", "accessory.page")),
    Floor(("accessory.data", "accessory.parallel")),
    Floor(("accessory.train",)),
    Floor(("accessory.eval",)),
    Floor(("accessory.demos", "accessory.serve", "accessory.main", "accessory.tools"), neighbours_meet=True),
)
# Downwards, and yet not: (importer, imported, why).
FORBIDDEN = (("accessory.eval", "accessory.train", "a model is judged the same way whoever trained it"),)
# The packages' own __init__ may show anything of what is in them.
ROOTS = ("SPHINX_V", "accessory")
# `from SPHINX_V import X` reaches the public names, so it counts as importing this unit. The version is free.
PUBLIC = {"SPHINX_V": "SPHINX_V.sphinx_v", "accessory": "accessory.runtime"}
FREE_NAMES = {"__version__"}

_FLOOR_OF = {unit: number for number, floor in enumerate(FLOORS) for unit in floor.units}


class Import(NamedTuple):
    """One import of something of ours: the dotted target and the line it stands on."""

    target: str
    line: int


def unit_of(dotted: str) -> str | None:
    """The unit a dotted name lies in, one of ROOTS for the bare package, None for a name the table lacks."""
    if dotted in ROOTS:
        return dotted
    unit = ".".join(dotted.split(".")[:2])
    return unit if unit in _FLOOR_OF else None


def _absolute(source: Source, level: int, module: str | None) -> str:
    """`from ..a import b` as an absolute name, by the rules of the import statement."""
    if level == 0:
        return module or ""
    package = source.module.split(".")
    keep = len(package) - level + (1 if source.is_package else 0)
    return ".".join(package[:keep] + ([module] if module else []))


def _dynamic(node: ast.Call, source: Source) -> str | None:
    """The literal name in importlib.import_module("…") or __import__("…")."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in ("import_module", "__import__") or not node.args:
        return None
    literal = node.args[0]
    if not (isinstance(literal, ast.Constant) and isinstance(literal.value, str)):
        return None
    text = literal.value
    level = len(text) - len(text.lstrip("."))
    return _absolute(source, level, text[level:] or None)


def imports_of(source: Source) -> Iterator[Import]:
    """Every import of our packages, at the top, inside functions, under TYPE_CHECKING and by name."""
    for node in ast.walk(source.tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node.level, node.module)
            # `from SPHINX_V import model` imports a unit; `from SPHINX_V import Point` a public name.
            for alias in node.names:
                if base in ROOTS and alias.name in FREE_NAMES:
                    continue
                submodule = f"{base}.{alias.name}"
                found.append(submodule if base in ROOTS and submodule in _FLOOR_OF else base)
        elif isinstance(node, ast.Call):
            literal = _dynamic(node, source)
            found = [literal] if literal else []
        for target in found:
            if target.split(".")[0] in ROOTS:
                yield Import(target, node.lineno)


def _objection(importer: str, imported: str) -> str | None:
    """Why `importer` may not import `imported` (both units), or None."""
    for upper, lower, why in FORBIDDEN:
        if (importer, imported) == (upper, lower):
            return why
    if importer in ROOTS:
        same_package = imported.split(".")[0] == importer
        return None if same_package or importer == "accessory" else "SPHINX_V must work without accessory"
    if imported in ROOTS:
        imported = PUBLIC[imported]
    if importer == imported:
        return None
    if importer.startswith("SPHINX_V") and imported.startswith("accessory"):
        return "SPHINX_V must work without accessory"
    above, below = _FLOOR_OF[importer], _FLOOR_OF[imported]
    if above < below:
        return "imports point down"
    if above == below and not FLOORS[above].neighbours_meet:
        return "neighbours on this floor do not see each other"
    return None


def violations(source: Source) -> list[str]:
    """What in this file breaks the law, one sentence each."""
    importer = unit_of(source.module)
    if importer is None:
        return [f"{source.path}: {source.module} is on no floor: add it to the table in tests/house/import_law.py"]
    found = []
    for target, line in imports_of(source):
        imported = unit_of(target)
        if imported is None:
            found.append(
                f"{source.path}:{line}: imports {target}, which is on no floor: "
                "add it to the table in tests/house/import_law.py"
            )
            continue
        why = _objection(importer, imported)
        if why:
            found.append(f"{source.path}:{line}: {importer} imports {target}: {why}")
    return found


def module_graph(sources: list[Source]) -> dict[str, set[str]]:
    """Which module loads which when it is itself loaded: imports at the top level only, TYPE_CHECKING left out."""
    names = {source.module for source in sources}
    graph: dict[str, set[str]] = {}
    for source in sources:
        edges = graph.setdefault(source.module, set())
        for node in source.tree.body:
            if isinstance(node, ast.Import):
                edges.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(source, node.level, node.module)
                for alias in node.names:
                    submodule = f"{base}.{alias.name}"
                    edges.add(submodule if submodule in names else base)
        edges &= names - {source.module}
    return graph


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """One cycle as the names along it, or an empty list."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return trail[trail.index(node) :] + [node]
        if node in done:
            return []
        for following in sorted(graph[node]):
            cycle = visit(following, [*trail, node])
            if cycle:
                return cycle
        done.add(node)
        return []

    for start in sorted(graph):
        cycle = visit(start, [])
        if cycle:
            return cycle
    return []
