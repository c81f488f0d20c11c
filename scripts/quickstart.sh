#!/usr/bin/env bash
# From a fresh clone to answers about marked regions: environment, data, two stages, evaluation, report.
#   bash scripts/quickstart.sh [--fast] [--out DIR]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
# glibc gives large blocks back to the system and asks for them anew in every step; keeping them is a seventh faster.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864
"$PYTHON" -m accessory.tools.quickstart "$@"
