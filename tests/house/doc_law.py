"""Whether a command written in the documentation would start: the script exists, the module exists, the flags exist."""

from __future__ import annotations

import functools
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable

from tests.house.repo import PACKAGES, ROOT
from tests.house.shell_blocks import Command

# Modules of others that the documentation may run; their flags are theirs to explain.
OTHERS_MODULES = {"pytest", "pip", "venv", "ruff", "mypy", "pre_commit", "http.server"}
TORCHRUN_WITH_VALUE = {
    "nproc_per_node", "nnodes", "node_rank", "master_addr", "master_port", "rdzv_backend", "rdzv_endpoint", "rdzv_id",
    "max_restarts",
}  # fmt: skip
TORCHRUN_ALONE = {"standalone"}
OUR_FOLDERS = ("SPHINX_V/", "accessory/", "scripts/", "assets/", "Data/", "tests/", "benchmarks/", ".ci/")
# DIR, FILE, CHECKPOINT_DIR, path/to/…, $X, {a,b} and globs stand for something the reader has.
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z0-9_]+\b|path/to|[$*?{}<>]|…|\.\.\.")


@functools.cache
def help_text(module: str, positionals: tuple[str, ...]) -> str:
    """What `python -m module … --help` prints. Raises RuntimeError where it ends with an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", module, *positionals, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-400:])
    return done.stdout


def module_exists(module: str) -> bool:
    """Looked up on disk: importing is for --help, in a process of its own."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


def check_module(words: tuple[str, ...]) -> str | None:
    """`words` follow `-m`: our module must exist and know each flag."""
    if not words:
        return "-m without a module"
    module, arguments = words[0], words[1:]
    if module.split(".")[0] not in (*PACKAGES, "benchmarks"):
        return None if module in OTHERS_MODULES else f"{module} is neither ours nor one of {sorted(OTHERS_MODULES)}"
    if not module_exists(module):
        return f"there is no module {module} to run"
    flags = [word.split("=", 1)[0] for word in arguments if re.match(r"--?[A-Za-z]", word)]
    first_flag = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    try:
        text = help_text(module, ())
        # A subcommand has a help of its own.
        if any(not knows(text, flag) for flag in flags) and first_flag:
            text += help_text(module, arguments[:1])
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"python -m {module} --help fails: {error}"
    unknown = [flag for flag in flags if not knows(text, flag)]
    return f"{module} --help does not name {', '.join(unknown)}" if unknown else None


def knows(text: str, flag: str) -> bool:
    """Is the flag in this help as a whole word, so that --seed is not found in --seeds?"""
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text) is not None


def check_python(words: tuple[str, ...]) -> str | None:
    if len(words) < 2 or words[1] in ("-", "-c", "--version", "-V"):
        return None
    if words[1] == "-m":
        return check_module(words[2:])
    return None if (ROOT / words[1]).is_file() else f"there is no file {words[1]}"


def check_torchrun(words: tuple[str, ...]) -> str | None:
    at = 1
    while at < len(words) and words[at].startswith("--"):
        name, equals, _ = words[at][2:].partition("=")
        name = name.replace("-", "_")
        if name in TORCHRUN_ALONE:
            at += 1
        elif name in TORCHRUN_WITH_VALUE:
            at += 1 if equals else 2
        else:
            return f"torchrun has no option {words[at]} in the table of tests/house/doc_law.py"
    if at >= len(words):
        return "torchrun starts nothing"
    return check_module(words[at + 1 :]) if words[at] == "-m" else check_python(("python", *words[at:]))


def check_script(words: tuple[str, ...]) -> str | None:
    arguments = [word for word in words[1:] if not word.startswith("-")]
    if not arguments:
        return f"{words[0]} starts nothing"
    # The first that ends in .sh: sbatch has options with values in front of it.
    name = next((word for word in arguments if word.endswith(".sh")), arguments[0])
    script = ROOT / name
    if not script.is_file():
        return f"there is no script {name}"
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def check_pip(words: tuple[str, ...]) -> str | None:
    """A file of requirements exists, an extra is declared, and a pinned torch is the pinned torch."""
    for option, value in itertools.pairwise(words):
        if option == "-r" and not (ROOT / value).is_file():
            return f"there is no {value}"
    for word in words[1:]:
        extras = re.fullmatch(r"\.\[([\w,-]+)\]", word)
        declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for extra in extras[1].split(",") if extras else ():
            if not re.search(rf"^{re.escape(extra)} = \[", declared, re.M):
                return f"pyproject.toml declares no extra {extra}"
        if word.startswith("torch==") and word not in (ROOT / "requirements.txt").read_text(encoding="utf-8").split():
            return f"{word} is not the torch of requirements.txt"
    return None


def anything(words: tuple[str, ...]) -> str | None:
    return None


# What the documentation may ask a reader to type, and how each is checked.
COMMANDS: dict[str, Callable[[tuple[str, ...]], str | None]] = {
    "bash": check_script,
    "cd": anything,
    "export": anything,
    "git": anything,
    "pip": check_pip,
    "python": check_python,
    "sbatch": check_script,
    "source": anything,
    "torchrun": check_torchrun,
}


def missing_files(words: tuple[str, ...]) -> list[str]:
    """Arguments that look like files of this repository and are not there."""
    values = [word.split("=", 1)[-1] for word in words[1:]]
    return [
        value
        for value in values
        if value.startswith(OUR_FOLDERS)
        and not PLACEHOLDER.search(value.partition("/")[2])
        and not (ROOT / value).exists()
    ]


def objection(command: Command) -> str | None:
    """Why this command would not start, with its line; None when nothing speaks against it."""
    name = command.words[0]
    if name not in COMMANDS:
        return f"line {command.line}: {name}: documentation keeps to {', '.join(COMMANDS)}"
    why = COMMANDS[name](command.words)
    if why is None and missing_files(command.words):
        why = f"not in the repository: {', '.join(missing_files(command.words))}"
    return f"line {command.line}: {' '.join(command.words)}: {why}" if why else None
