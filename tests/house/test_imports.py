"""Imports point down, everywhere; and the checker that says so catches what it should."""

import ast
import sys

import pytest

from tests.house.import_law import FLOORS, FORBIDDEN, cycle_in, imports_of, module_graph, unit_of, violations
from tests.house.repo import PACKAGES, package_sources, snippet

# What the core may load at the top of a module: the dependencies in pyproject.toml by the names they import as.
CORE = {"torch", "numpy", "PIL", "sentencepiece", "safetensors", "yaml", "pydantic", "tqdm"}


def test_imports_point_down():
    found = [sentence for source in package_sources() for sentence in violations(source)]
    assert not found, "\n" + "\n".join(found)


def test_no_module_loads_itself_in_a_circle():
    # A package's __init__ showing its own modules is not a circle worth speaking of unless they load it back.
    cycle = cycle_in(module_graph(package_sources()))
    assert not cycle, " imports ".join(cycle)


def test_tops_of_modules_load_only_the_core():
    found = []
    for source in package_sources():
        for node in source.tree.body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in CORE and top not in PACKAGES and top not in sys.stdlib_module_names:
                    found.append(f"{source.path}:{node.lineno}: {top} is not core: import it where it is used")
    assert not found, "\n" + "\n".join(found)


def test_the_table_is_sound():
    units = [unit for floor in FLOORS for unit in floor.units]
    assert len(units) == len(set(units))
    assert all(unit_of(unit) == unit for unit in units)
    assert all(unit_of(name) for upper, lower, _ in FORBIDDEN for name in (upper, lower))


BREAKS = [
    ("SPHINX_V.model.llama", "import accessory.train", "without accessory"),
    ("SPHINX_V.sphinx_v", "from accessory.runtime import seeds", "without accessory"),
    ("SPHINX_V.model.llama", "from SPHINX_V.processing.image import views", "do not see each other"),
    ("SPHINX_V.processing.slots", "from ..model import vision", "do not see each other"),
    ("SPHINX_V.processing.slots", "from .. import model", "do not see each other"),
    ("SPHINX_V.processing.slots", "def late():\n    from SPHINX_V import model", "do not see each other"),
    ("SPHINX_V.errors", "from SPHINX_V.config import Config", "point down"),
    ("SPHINX_V.weights.folder", "from SPHINX_V.sphinx_v import SPHINX_V_Model", "point down"),
    ("SPHINX_V.weights.folder", "from SPHINX_V import SPHINX_V_Model", "point down"),
    ("SPHINX_V.weights.folder", "import SPHINX_V", "point down"),
    ("SPHINX_V.config", "import SPHINX_V.generation.engine as e", "point down"),
    ("SPHINX_V.model.vit", "import importlib\nimportlib.import_module('SPHINX_V.weights')", "point down"),
    ("SPHINX_V.model.vit", "if TYPE_CHECKING:\n    from SPHINX_V.generation import cache", "point down"),
    ("accessory.eval.predict", "from accessory.train.step import step", "judged the same way"),
    ("accessory.eval.predict", "def f():\n    from ..train import step", "judged the same way"),
    ("accessory.train.step", "from accessory.eval import metrics", "point down"),
    ("accessory.data.dataset", "from accessory.parallel.mesh import mesh", "do not see each other"),
    ("accessory.runtime.seeds", "import accessory.main", "point down"),
    ("SPHINX_V.model.vit", "from SPHINX_V.surprise import x", "add it to the table"),
    ("SPHINX_V.surprise", "", "add it to the table"),
]


@pytest.mark.parametrize("module, text, expected", BREAKS)
def test_what_breaks_the_law_is_caught(module, text, expected):
    found = violations(snippet(text, module))
    assert len(found) == 1, found
    assert expected in found[0]
    assert found[0].startswith(module.replace(".", "/") + ".py")


KEEPS = [
    ("SPHINX_V.processing.image", "from SPHINX_V.errors import DataError\nfrom ..config import Sizes\nimport torch"),
    ("SPHINX_V.processing.image", "from .slots import slots\nfrom . import slots"),
    ("SPHINX_V.config", "from .prompts import Point"),
    ("SPHINX_V.weights.folder", "from SPHINX_V import __version__, config"),
    ("SPHINX_V.inference", "from SPHINX_V import Point, SPHINX_V_Model"),
    ("accessory.data.labels", "from SPHINX_V.processing import processor\nfrom SPHINX_V import Point"),
    ("accessory.eval.predict", "from accessory.data import annotation\nfrom SPHINX_V import SPHINX_V_Model"),
    ("accessory.tools.check", "from accessory.main import main"),
]


@pytest.mark.parametrize("module, text", KEEPS)
def test_what_keeps_the_law_is_let_through(module, text):
    assert violations(snippet(text, module)) == []


def test_relative_imports_resolve_from_modules_and_from_packages():
    def targets(text, module, is_package):
        return [found.target for found in imports_of(snippet(text, module, is_package=is_package))]

    assert targets("from . import vit", "SPHINX_V.model.llama", False) == ["SPHINX_V.model"]
    assert targets("from .vit import ViT", "SPHINX_V.model", True) == ["SPHINX_V.model.vit"]
    assert targets("from ..config import Sizes", "SPHINX_V.model", True) == ["SPHINX_V.config"]
    assert targets("import_module('.model', __package__)", "SPHINX_V", True) == ["SPHINX_V.model"]


def test_roots_may_show_their_own_and_no_more():
    assert violations(snippet("from .sphinx_v import SPHINX_V_Model", "SPHINX_V", is_package=True)) == []
    assert violations(snippet("from SPHINX_V import SPHINX_V_Model", "accessory", is_package=True)) == []
    (found,) = violations(snippet("def f():\n    import accessory", "SPHINX_V", is_package=True))
    assert "without accessory" in found


def test_circles_are_found():
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
