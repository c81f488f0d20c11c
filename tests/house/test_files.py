"""YAML loads, shell scripts parse, and the two lists of dependencies agree."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.house.repo import ROOT, files_ending, name_of

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it where the standard library has none
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;\s*(.+))?$")


class StrictLoader(yaml.SafeLoader):
    """Safe, and a key given twice is an error; plain YAML keeps the last without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("path", files_ending(".yaml", ".yml"), ids=name_of)
def test_yaml_loads(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text) is not None, "an empty file says nothing"
    yaml.load(text, StrictLoader)  # noqa: S506 (it is a SafeLoader)


def test_keys_given_twice_are_caught():
    with pytest.raises(yaml.YAMLError, match="given twice"):
        yaml.load("a: 1\nb: 2\na: 3\n", StrictLoader)  # noqa: S506


@pytest.mark.parametrize("path", [*files_ending(".sh"), ROOT / ".ci/run"], ids=name_of)
def test_shell_scripts_parse(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_scripts_are_clean():
    scripts = [str(path) for path in [*files_ending(".sh"), ROOT / ".ci/run"]]
    done = subprocess.run(["shellcheck", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def name_in(requirement: str) -> str:
    """The package a requirement names, spelled one way: "PyYAML>=6" and "pyyaml[x]" -> "pyyaml"."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def pins() -> list[tuple[str, str, str]]:
    """(name, version, marker) for every line of requirements.txt that is not a comment."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [PIN.match(line) for line in lines if line.strip() and not line.startswith("#")]
    assert all(found), "every line of requirements.txt is name==version, with or without a marker"
    return [(name_in(match[1]), match[2], match[3] or "") for match in found if match]


def ranges() -> dict[str, str]:
    """name -> requirement, for the core and all extras; ourselves (sphinx-v[test]) left out."""
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    everything = [*PYPROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return {name_in(line): line for line in everything if name_in(line) != PYPROJECT["project"]["name"]}


# pre-commit only calls scripts/check.sh, so its version changes nothing that is tested.
NOT_PINNED = {"pre-commit"}


def test_every_pin_lies_in_its_range_and_every_range_is_pinned():
    requirements = pytest.importorskip("packaging.requirements")
    for name, version, _ in pins():
        assert name in ranges(), f"{name} is pinned in requirements.txt and not named in pyproject.toml"
        assert version in requirements.Requirement(ranges()[name]).specifier
    assert set(ranges()) - NOT_PINNED == {name for name, _, _ in pins()}


def test_the_tests_extra_brings_every_other_one():
    extras = PYPROJECT["project"]["optional-dependencies"]
    brought = {name for line in extras["test"] for name in (line.partition("[")[2].rstrip("]").split(",")) if name}
    # sam is transformers, which the tests bring anyway.
    assert brought == set(extras) - {"test", "dev", "sam"}


def test_each_package_has_one_pin_for_each_python():
    markers = pytest.importorskip("packaging.markers")
    for python in ("3.10", "3.11", "3.12", "3.13"):
        environment = {"python_version": python}
        names = [name for name, _, marker in pins() if not marker or markers.Marker(marker).evaluate(environment)]
        assert len(names) == len(set(names)), python
        assert set(names) == {name for name, _, _ in pins()}, python


def test_torch_is_pinned_first_and_alone():
    # scripts/_environment.sh takes this line by its form.
    assert pins()[0][0] == "torch"
    assert [name for name, _, _ in pins()].count("torch") == 1
    assert pins()[0][2] == ""


def test_every_data_file_of_the_packages_is_installed():
    # A pattern of package-data is relative to its package; what no pattern takes is missing from the wheel.
    kinds = {
        package: {pattern.rsplit(".", 1)[-1] for pattern in patterns}
        for package, patterns in PYPROJECT["tool"]["setuptools"]["package-data"].items()
    }
    for package, endings in kinds.items():
        folder = ROOT / package
        for path in files_ending(".yaml", ".yml", ".json", ".html", ".css", ".js", ".txt", ".svg", ".png", ".model"):
            if folder in path.parents:
                assert path.suffix[1:] in endings, f"{name_of(path)} is not in package-data of pyproject.toml"
