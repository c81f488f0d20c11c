"""What the documentation tells a reader to type would start, and what it links to is there."""

import ast
import re

import pytest

from tests.house.doc_law import COMMANDS, knows, objection
from tests.house.repo import ROOT, files_ending, name_of
from tests.house.shell_blocks import Command, blocks, commands

COMMANDED = ("README.md", "CONTRIBUTING.md", *(name_of(path) for path in sorted((ROOT / "Data").glob("*.md"))))
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def read(name: str) -> str:
    path = ROOT / name
    assert path.exists(), f"{name} is missing"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDED)
def test_commands_would_start(name):
    found = commands(read(name))
    assert found or name == "Data/annotations.md", f"{name} shows no command at all"
    wrong = [why for why in map(objection, found) if why]
    assert not wrong, "\n" + "\n".join(f"{name} {why}" for why in wrong)


def test_the_readme_names_the_test_command():
    assert any(command.words[:2] == ("bash", "scripts/test.sh") for command in commands(read("README.md")))


@pytest.mark.parametrize("path", files_ending(".md"), ids=name_of)
def test_python_blocks_compile_and_import_what_exists(path):
    for body, line in blocks(path.read_text(encoding="utf-8"), "python"):
        for node in ast.walk(ast.parse(body, f"{name_of(path)} line {line}")):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("SPHINX_V", "accessory"):
                module = __import__(node.module, fromlist=["x"])
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{name_of(path)} line {line}: {node.module} has no {missing}"


def anchors(markdown: str) -> set[str]:
    """The names headings get: lower case, punctuation gone, spaces to hyphens."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", re.sub(r"```.*?```", "", markdown, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", files_ending(".md"), ids=name_of)
def test_links_and_pictures_exist(path):
    text = path.read_text(encoding="utf-8")
    wrong = []
    for match in LINK.finditer(CODE.sub("", text)):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        if not there.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text(encoding="utf-8")):
            wrong.append(f"{target}: no such heading")
    assert not wrong, f"{name_of(path)}: {wrong}"


MARKDOWN = """
```bash
# a comment
cd SPHINX-V && bash scripts/test.sh -k "a b"   # the end
CUDA_VISIBLE_DEVICES=0 torchrun --nproc_per_node=2 \\
    -m accessory.main --config FILE > log.txt
python - <<'PY'
import nothing
PY
git status
```
```python
bash = 1
```
"""


def test_commands_are_cut_as_a_shell_would():
    found = commands(MARKDOWN)
    assert [command.words for command in found] == [
        ("cd", "SPHINX-V"),
        ("bash", "scripts/test.sh", "-k", "a b"),
        ("torchrun", "--nproc_per_node=2", "-m", "accessory.main", "--config", "FILE"),
        ("python", "-"),
        ("git", "status"),
    ]
    assert [command.line for command in found] == [4, 4, 5, 7, 10]


def test_an_open_quote_is_an_error_with_its_line():
    with pytest.raises(ValueError, match="line 2"):
        commands("```bash\ngit commit -m 'x\n```")


WRONG = [
    ("curl example", "documentation keeps to"),
    ("bash scripts/surely_not_there.sh", "no script"),
    ("python -m accessory.surely_not_there", "no module"),
    ("python -m surely_not_ours", "neither ours"),
    ("python surely_not_there.py", "no file"),
    ("torchrun --nprocs=2 -m accessory.main", "no option"),
    ("torchrun --nproc_per_node=2 -m accessory.surely_not_there", "no module"),
    ("torchrun --nproc_per_node 2", "starts nothing"),
    ("pip install torch==0.0.1", "not the torch"),
    ("pip install .[surely_not_there]", "no extra"),
    ("pip install -r surely_not_there.txt", "there is no"),
    ("git add accessory/surely_not_there.yaml", "not in the repository"),
]


@pytest.mark.parametrize("line, expected", WRONG)
def test_wrong_commands_are_caught(line, expected):
    why = objection(Command(tuple(line.split()), 7))
    assert why
    assert expected in why
    assert why.startswith("line 7")


RIGHT = ["bash scripts/test.sh", "pip install -e .[dev]", "git add accessory/FILE.yaml", "python -m pytest -k x"]


@pytest.mark.parametrize("line", RIGHT)
def test_right_commands_are_let_through(line):
    assert objection(Command(tuple(line.split()), 7)) is None


def test_flags_are_whole_words():
    assert knows("  --seed SEED", "--seed")
    assert not knows("  --seeds N  --no-seed", "--seed")
    assert "torchrun" in COMMANDS
