#!/usr/bin/env bash
# Format, lint, types and the laws of the house. The same script runs by hand, in pre-commit and in CI.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/_environment.sh"
cd "$ROOT"

failed=""
check() { # check WHAT COMMAND...: goes on after a failure, so that one run shows everything there is to mend
    local what="$1"
    shift
    echo "== $what"
    "$@" || failed="$failed  $what"$'\n'
}

check "format (mend with: python -m ruff format .)" "$PYTHON" -m ruff format --check .
check "lint (mend some with: python -m ruff check --fix .)" "$PYTHON" -m ruff check .
check "types" "$PYTHON" -m mypy
check "house laws (tests/house)" "$PYTHON" -m pytest -q tests/house

if [ -n "$failed" ]; then
    printf 'These checks failed:\n%s' "$failed" >&2
    exit 1
fi
echo "All checks passed."
