#!/usr/bin/env bash
# Runs the checks and then all tests. With arguments, runs only pytest with them: bash scripts/test.sh -k golden
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/_environment.sh"
cd "$ROOT"

if [ "$#" -gt 0 ]; then
    exec "$PYTHON" -m pytest "$@"
fi

# The checks run the house tests already; the rest follows even when they fail, so one run tells everything.
failed=0
bash scripts/check.sh || failed=1
"$PYTHON" -m pytest --ignore=tests/house || failed=1
exit "$failed"
