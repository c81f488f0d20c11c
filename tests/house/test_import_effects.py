"""Importing any module of ours needs no optional package, prints nothing and changes nothing in the process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.house.repo import ROOT, package_sources, read_source, snippet

PROBE = ROOT / "tests/house/import_probe.py"
# `import SPHINX_V` is what everyone pays for: it shows names and loads none of these.
HEAVY = {
    "accessory", "fastapi", "gradio", "matplotlib", "open_clip", "pandas", "scipy", "sentencepiece", "timm",
    "torchvision", "transformers",
}  # fmt: skip


class Probe(NamedTuple):
    """What the probe wrote down, and what the process printed meanwhile."""

    failed: dict[str, str]
    changed: dict[str, list[str]]
    printed: str


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds our packages and has nothing of pytest in it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def probe(modules: list[str], report: Path) -> Probe:
    done = run_python(str(PROBE), str(report), *modules)
    assert report.exists(), f"the probe itself failed:\n{done.stdout}{done.stderr}"
    return Probe(**json.loads(report.read_text(encoding="utf-8")), printed=done.stdout + done.stderr)


@pytest.fixture(scope="module")
def all_modules(tmp_path_factory) -> Probe:
    modules = [source.module for source in package_sources() if not source.module.endswith("__main__")]
    return probe(modules, tmp_path_factory.mktemp("probe") / "report.json")


def test_every_module_imports_without_optional_packages(all_modules):
    assert not all_modules.failed, "\n" + "\n".join(f"{name}: {why}" for name, why in all_modules.failed.items())


def test_importing_prints_nothing(all_modules):
    assert all_modules.printed == ""


def test_importing_changes_nothing(all_modules):
    assert not all_modules.changed, all_modules.changed


def test_main_modules_compile():
    for source in package_sources():
        if source.module.endswith("__main__"):
            compile(source.text, source.path, "exec")


def test_the_probe_sees_what_it_should(tmp_path):
    lines = "import os, sys, torch\nos.environ['X_HOUSE'] = '1'\ntorch.set_default_dtype(torch.float64)\nprint('hi')\n"
    (tmp_path / "noisy_module.py").write_text(lines, encoding="utf-8")
    (tmp_path / "needy_module.py").write_text("import transformers\n", encoding="utf-8")
    report = tmp_path / "report.json"
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['p', {str(report)!r}, 'noisy_module', "
    text += f"'needy_module']; import runpy; runpy.run_path({str(PROBE)!r}, run_name='__main__')"
    done = run_python("-c", text)
    found = json.loads(report.read_text(encoding="utf-8"))
    assert done.stdout == "hi\n"
    assert found["changed"] == {"noisy_module": ["os.environ", "default dtype"]}
    assert "No module named 'transformers'" in found["failed"]["needy_module"]


def test_importing_the_ground_floor_loads_nothing_heavy():
    done = run_python("-c", "import sys, SPHINX_V; print(*sorted({name.split('.')[0] for name in sys.modules}))")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_is_there():
    text = "import SPHINX_V; print([n for n in SPHINX_V.__all__ if not hasattr(SPHINX_V, n)], len(SPHINX_V.__all__))"
    done = run_python("-c", text)
    assert done.returncode == 0, done.stderr
    missing, count = done.stdout.rsplit(maxsplit=1)
    assert missing == "[]"
    assert int(count) > 0


def test_helpers_name_modules_as_python_does():
    names = {source.path: source.module for source in package_sources()}
    assert all(not module.endswith("__init__") for module in names.values())
    assert read_source(Path(__file__)).module == ""
    assert snippet("", "SPHINX_V.model", is_package=True).is_package
