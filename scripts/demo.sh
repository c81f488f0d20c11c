#!/usr/bin/env bash
# Opens the web demo: draw on a picture and ask about what was drawn. Default: the quickstart's checkpoint.
#   bash scripts/demo.sh [--checkpoint DIR] [--sam PATH] [--host H] [--port P] [--device D] [--dtype T] [--tensor_parallel N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
cd "$ROOT"
processes=1
arguments=("$@")
for ((i = 0; i < $#; i++)); do
    case "${arguments[$i]}" in
        --tensor_parallel) processes="${arguments[$((i + 1))]:-}" ;;
        --tensor_parallel=*) processes="${arguments[$i]#*=}" ;;
    esac
done
if ! [[ "$processes" =~ ^[1-9][0-9]*$ ]]; then
    _fail "--tensor_parallel is '$processes'; give the number of processes, such as 2."
fi
if [ "$processes" -gt 1 ]; then
    exec "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$processes" -m accessory.demos "$@"
fi
exec "$PYTHON" -m accessory.demos "$@"
