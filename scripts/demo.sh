#!/usr/bin/env bash
# Opens the web demo: draw on a picture and ask about what was drawn. Default: the quickstart's checkpoint.
#   bash scripts/demo.sh [--checkpoint DIR] [--sam PATH] [--host H] [--port P] [--device D] [--dtype T] [--quantize Q] [--tensor_parallel N]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
processes=1
checkpoint=("--checkpoint" "$ROOT/outputs/quickstart/checkpoint")
arguments=("$@")
for ((i = 0; i < $#; i++)); do
    case "${arguments[$i]}" in
        --tensor_parallel) processes="${arguments[$((i + 1))]:-}" ;;
        --checkpoint | --checkpoint=*) checkpoint=() ;;
        --tensor_parallel=*) processes="${arguments[$i]#*=}" ;;
    esac
done
if ! [[ "$processes" =~ ^[1-9][0-9]*$ ]]; then
    _fail "--tensor_parallel is '$processes'; give the number of processes, such as 2."
fi
if [ "${#checkpoint[@]}" -gt 0 ] && [ ! -e "${checkpoint[1]}" ]; then
    _fail "There is no checkpoint yet." "What to do: run 'bash scripts/quickstart.sh' first, or give --checkpoint DIR."
fi
launcher=("$PYTHON")
if [ "$processes" -gt 1 ]; then
    launcher=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$processes")
fi
# Not just "${checkpoint[@]}": an old bash takes an empty list for a variable that is not set.
exec "${launcher[@]}" -m accessory.demos ${checkpoint[@]+"${checkpoint[@]}"} "$@"
