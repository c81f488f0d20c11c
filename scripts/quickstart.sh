#!/usr/bin/env bash
# From a fresh clone to answers about marked regions: environment, data, two stages, evaluation, report.
#   bash scripts/quickstart.sh [--fast] [--out DIR]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
"$PYTHON" -m accessory.tools.quickstart "$@"
