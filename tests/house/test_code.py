"""What no file may hold; and the checkers that say so catch what they should."""

import pytest

from tests.house import code_law
from tests.house.repo import ROOT, files_ending, name_of, package_sources, read_source, repo_files, snippet

MOST_LINES = 399
TEXT = {".py", ".sh", ".yaml", ".yml", ".md", ".toml", ".txt", ".cfg", ".html", ".css", ".js", ".json", ""}


@pytest.mark.parametrize(
    "checker",
    [code_law.unsafe_loads, code_law.prints, code_law.swallowed, code_law.missing_docstring],
    ids=lambda checker: checker.__name__,
)
def test_the_packages_keep(checker):
    found = [sentence for source in package_sources() for sentence in checker(source)]
    assert not found, "\n" + "\n".join(found)


def test_tests_and_benchmarks_load_safely_too():
    outside = [path for path in files_ending(".py") if name_of(path).split("/")[0] in ("tests", "benchmarks")]
    found = [sentence for path in outside for sentence in code_law.unsafe_loads(read_source(path))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "checker", [code_law.machine_paths, code_law.index_addresses], ids=lambda checker: checker.__name__
)
def test_no_text_file_holds(checker):
    found = []
    for path in repo_files():
        # This file shows the checkers what to catch.
        if path.suffix in TEXT and path.stat().st_size < 2_000_000 and name_of(path) != "tests/house/test_code.py":
            found += checker(name_of(path), path.read_text(encoding="utf-8", errors="replace"))
    assert not found, "\n" + "\n".join(found)


def test_files_are_short():
    ours = ("SPHINX_V", "accessory", "tests", "benchmarks")
    long = []
    for path in files_ending(".py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if name_of(path).split("/")[0] in ours and lines > MOST_LINES:
            long.append(f"{name_of(path)}: {lines} lines, at most {MOST_LINES}: give one of its jobs a file of its own")
    assert not long, "\n" + "\n".join(long)


def test_nothing_listed_as_catching_everything_is_gone():
    for entry in code_law.CATCHES_EVERYTHING:
        assert (ROOT / entry.split("::")[0]).exists(), f"{entry}: take it off the list in tests/house/code_law.py"


BAD = [
    (code_law.unsafe_loads, "torch.load('a')"),
    (code_law.unsafe_loads, "def f():\n    return torch.load(path, weights_only=False)"),
    (code_law.prints, "def f():\n    print('hello')"),
    (code_law.swallowed, "try:\n    f()\nexcept Exception:\n    pass"),
    (code_law.swallowed, "try:\n    f()\nexcept:\n    log()"),
    (code_law.swallowed, "try:\n    f()\nexcept (ValueError, Exception) as e:\n    log(e)"),
    (code_law.swallowed, "try:\n    f()\nexcept Exception as e:\n    if e.args:\n        raise\n    log(e)"),
    (code_law.swallowed, "with contextlib.suppress(Exception):\n    f()"),
    (code_law.missing_docstring, "x = 1"),
]
GOOD = [
    (code_law.unsafe_loads, "torch.load('a', map_location='cpu', weights_only=True)\njson.load(f)"),
    (code_law.prints, "def main():\n    print('hello')\n\nif __name__ == '__main__':\n    main()"),
    (code_law.prints, "print('hello', file=sys.stderr)"),
    (code_law.swallowed, "try:\n    f()\nexcept Exception:\n    clean()\n    raise"),
    (code_law.swallowed, "try:\n    f()\nexcept ValueError:\n    pass"),
    (code_law.missing_docstring, '"""Says its job."""'),
]


@pytest.mark.parametrize("checker, text", BAD)
def test_bad_is_caught(checker, text):
    assert len(checker(snippet(text))) == 1


@pytest.mark.parametrize("checker, text", GOOD)
def test_good_is_let_through(checker, text):
    assert checker(snippet(text)) == []


@pytest.mark.parametrize("line", ['p = "/home/me/x"', "cd /work/main", "see /root", "open('/Users/you/a.png')"])
def test_machine_paths_are_caught(line):
    assert code_law.machine_paths("x", line)


@pytest.mark.parametrize(
    "line", ["DIR/home/x", "https://example.org/home/x", "and/or", "./root/x", "/path/to/x", "a/work/b"]
)
def test_other_paths_are_let_through(line):
    assert not code_law.machine_paths("x", line)


def test_index_addresses_are_caught():
    assert code_law.index_addresses("x", "pip install --index-url https://mirror.example/simple torch")
    assert code_law.index_addresses("x", "--extra-index-url https://mirror.example/whl/cpu")
    assert not code_law.index_addresses("x", "see https://example.org/docs")


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in files_ending(".py") if name_of(path).split("/")[0] in ("SPHINX_V", "accessory")}
    bare = sorted(name_of(folder) for folder in folders if not (folder / "__init__.py").exists())
    assert not bare, f"without an __init__.py that says what is in there: {bare}"
