# Sourced by the other scripts. Leaves ROOT (the repository) and PYTHON (an interpreter with everything installed),
# and puts ROOT on PYTHONPATH; ends the calling script with a sentence when it cannot.
#
# PYTHON is $SPHINX_V_PYTHON where that is set. Otherwise it is .venv in the repository, made on the first run.
# A stamp in .venv says which requirements are in it: when they have not changed nothing is asked of the network.
# PYTHONPATH, not an editable install: it needs no build tools, survives moving the folder, and works offline.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

_fail() { # _fail SENTENCE...: one line each
    echo "" >&2
    printf '%s\n' "$@" >&2
    exit 1
}

_new_enough() { # is $1 a Python that runs, and is it 3.10 or later?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

_find_python() { # a tool like pyenv may put a python3.12 on the path that refuses to run: hence the trial of each
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        if command -v "$candidate" >/dev/null 2>&1 && _new_enough "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

_requirements_hash() {
    "$PYTHON" - "$ROOT/requirements.txt" "$ROOT/pyproject.toml" <<'PY'
import hashlib, pathlib, sys

parts = [sys.version.encode()] + [pathlib.Path(name).read_bytes() for name in sys.argv[1:]]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
}

_pip_install() { # _pip_install WHAT ARGUMENTS...
    local what="$1"
    shift
    "$PYTHON" -m pip install --quiet --disable-pip-version-check "$@" </dev/null >&2 || _fail \
        "Could not install $what into $ROOT/.venv; pip says why above." \
        "What to do: the first run needs a package index that pip can reach, and room on the disk." \
        "Mend that and run this again (it goes on where it stopped), or set SPHINX_V_PYTHON to the path of" \
        "a Python >= 3.10 that has the packages of requirements.txt; then nothing is installed."
}

_make_environment() {
    local base
    # One that was interrupted in the making has a Python but no pip, and is made anew.
    if [ -e "$PYTHON" ] && [ ! -e "$ROOT/.venv/requirements.stamp" ] && ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
        echo "$ROOT/.venv is incomplete; making it anew." >&2
        rm -rf "$ROOT/.venv"
    fi
    if [ ! -e "$PYTHON" ]; then
        base="$(_find_python)" || _fail \
            "No Python 3.10 or later found (tried python3, python3.13 … python3.10, python)." \
            "What to do: install one, or set SPHINX_V_PYTHON to the path of one that has requirements.txt installed."
        echo "Making $ROOT/.venv (once) …" >&2
        "$base" -m venv "$ROOT/.venv" </dev/null >&2 || {
            rm -rf "$ROOT/.venv"
            _fail "'$base -m venv' failed; its message is above." \
                "What to do: on Debian and Ubuntu install the package python3-venv; then run this again."
        }
    fi
    _new_enough "$PYTHON" || _fail \
        "$ROOT/.venv does not hold a working Python 3.10 or later." \
        "What to do: delete that folder and run this again."

    local stamp="$ROOT/.venv/requirements.stamp" wanted
    wanted="$(_requirements_hash)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi
    echo "Installing requirements.txt into $ROOT/.venv (the first time this takes a few minutes) …" >&2
    rm -f "$stamp"
    # The pinned torch alone and first: asked for together, another package's range may pull a build of gigabytes.
    _pip_install "torch" "$(grep -E '^torch==' "$ROOT/requirements.txt")"
    _pip_install "the packages of requirements.txt" -r "$ROOT/requirements.txt"
    echo "$wanted" >"$stamp"
}

if [ -n "${SPHINX_V_PYTHON:-}" ]; then
    _new_enough "$SPHINX_V_PYTHON" || _fail \
        "SPHINX_V_PYTHON is '$SPHINX_V_PYTHON', which is not a working Python 3.10 or later." \
        "What to do: set it to the path of one, or unset it and .venv is made here."
    # What it calls itself is absolute: the scripts may change directory after this.
    PYTHON="$("$SPHINX_V_PYTHON" -c 'import sys; print(sys.executable)')"
    # Looked for, not imported: importing torch takes seconds, and every script comes by here.
    "$PYTHON" -c 'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)' || _fail \
        "SPHINX_V_PYTHON is '$SPHINX_V_PYTHON', which has no torch." \
        "What to do: '$PYTHON -m pip install -r requirements.txt', or unset it and .venv is made here."
else
    PYTHON="$ROOT/.venv/bin/python"
    _make_environment
fi

export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
