#!/usr/bin/env bash
# Serves a model behind an OpenAI-compatible address, by default the quickstart's on this machine only.
#   bash scripts/serve.sh [--checkpoint DIR] [--port 8000] [--host ADDRESS --api_key_file FILE] [--tensor_parallel N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

checkpoint=(--checkpoint "$ROOT/outputs/quickstart/checkpoint")
processes=1
arguments=("$@")
for index in "${!arguments[@]}"; do
    case "${arguments[$index]}" in
        --checkpoint | --checkpoint=*) checkpoint=() ;;
        --tensor_parallel) processes="${arguments[$((index + 1))]:-1}" ;;
        --tensor_parallel=*) processes="${arguments[$index]#*=}" ;;
    esac
done
if [ "${#checkpoint[@]}" -gt 0 ] && [ ! -d "${checkpoint[1]}" ]; then
    _fail "There is no outputs/quickstart/checkpoint to serve." \
        "What to do: run 'bash scripts/quickstart.sh' first, or give --checkpoint DIR."
fi

# exec: a signal for this script is one for the server, which then ends in order.
if [ "$processes" -gt 1 ]; then
    exec "$PYTHON" -m torch.distributed.run --standalone "--nproc_per_node=$processes" \
        -m accessory.serve "${checkpoint[@]}" "$@"
fi
exec "$PYTHON" -m accessory.serve "${checkpoint[@]}" "$@"
