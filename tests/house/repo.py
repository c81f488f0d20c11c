"""What the house tests look at: the files of the repository, their modules and their syntax trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("SPHINX_V", "accessory")
# Without git (a source archive) these folders are not ours.
NOT_OURS = {".venv", "venv", ".git", "build", "dist", "outputs", "runs", "logs", "checkpoints", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, its module name ("" outside the packages) and its text."""

    path: str
    module: str
    text: str

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)


@functools.cache
def repo_files() -> tuple[Path, ...]:
    """Every file that is or could be committed: git's own answer, or a walk where there is no git."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        candidates = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        candidates = [path for path in ROOT.rglob("*") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in candidates if path.is_file()))


def files_ending(*suffixes: str) -> list[Path]:
    return [path for path in repo_files() if path.suffix in suffixes]


def name_of(path: Path) -> str:
    """The path from the root, as messages show it."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """SPHINX_V/model/llama.py -> SPHINX_V.model.llama; a package's __init__ is the package; "" outside ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] not in PACKAGES:
        return ""
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def read_source(path: Path) -> Source:
    return Source(name_of(path), module_of(path), path.read_text(encoding="utf-8"))


def package_sources() -> list[Source]:
    """All Python files of SPHINX_V and accessory."""
    return [read_source(path) for path in files_ending(".py") if module_of(path)]


def snippet(text: str, module: str = "SPHINX_V.model.llama", *, is_package: bool = False) -> Source:
    """A source that is in no file, for showing that a checker catches what it should."""
    path = module.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    return Source(path, module, text)
