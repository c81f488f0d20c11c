# Sourced by the training launchers. Gives them train CONFIG [key.sub=value ...]: torchrun on this node's GPUs.
#
#   GPUS            processes on this node; default: its CUDA GPUs
#   NNODES          nodes; default 1. With more, run the same launcher on each of them, and set
#   NODE_RANK         this node's number, from 0; default under Slurm: SLURM_NODEID
#   MASTER_ADDR       the host of node 0, and MASTER_PORT, a free port there; default 29500
#   RDZV_ENDPOINT     host:port, instead of the two
#   RDZV_ID           a name for the run, the same on all nodes; default sphinx-v
#   MAX_RESTARTS    how often a crash is followed by a new start from the last saved state; default 3
#   STOP_SECONDS    how long a training may take to save and end when it is asked to stop; default 270
#
# SIGTERM or SIGUSR1 asks the training to save and to end; the launcher's exit code is then 75, and the same command
# goes on from there. A second one ends it at once. Ctrl-C ends it without saving.

source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

_gpus() { # how many CUDA GPUs this node has
    local count
    count="$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')"
    [ "$count" -gt 0 ] || _fail \
        "This machine has no CUDA GPU that torch can use." \
        "What to do: run on one that has, or set GPUS to a number of processes to train on the CPU."
    echo "$count"
}

_rendezvous() { # leaves RENDEZVOUS, torchrun's options for how processes find each other
    RENDEZVOUS=(--standalone)
    if [ "${NNODES:-1}" -gt 1 ]; then
        local endpoint="${RDZV_ENDPOINT:-${MASTER_ADDR:+$MASTER_ADDR:${MASTER_PORT:-29500}}}"
        local node="${NODE_RANK:-${SLURM_NODEID:-}}"
        if [ -z "$endpoint" ] || [ -z "$node" ]; then
            _fail "NNODES is $NNODES, but MASTER_ADDR (or RDZV_ENDPOINT) or NODE_RANK is not set." \
                "What to do: set both on every node; MASTER_ADDR is the host that has NODE_RANK=0."
        fi
        # Said, not guessed from host names: those of a cluster's networks differ.
        RENDEZVOUS=(--rdzv_backend=c10d "--rdzv_endpoint=$endpoint" "--rdzv_id=${RDZV_ID:-sphinx-v}"
            "--rdzv_conf=is_host=$([ "$node" = 0 ] && echo true || echo false)")
    fi
}

_ask_to_stop() { # the first time: all workers on this node; the second time torchrun, which kills them
    INTERRUPTED=1
    if [ -e "$SPHINX_V_LAUNCH/stop" ]; then
        kill -INT "$TORCHRUN" 2>/dev/null || true
        return
    fi
    touch "$SPHINX_V_LAUNCH/stop"
    echo "Asking the training to save and to end …" >&2
    local file
    for file in "$SPHINX_V_LAUNCH"/worker.*; do
        [ ! -e "$file" ] || kill -USR1 "$(cat "$file")" 2>/dev/null || true
    done
}

_noted() { # has any worker written such a file?
    compgen -G "$SPHINX_V_LAUNCH/$1.*" >/dev/null
}

train() { # train CONFIG [ARGUMENTS OF accessory.main ...]; ends the script with the training's exit code
    local config="$1" gpus code
    shift
    gpus="${GPUS:-$(_gpus)}"
    _rendezvous
    cd "$ROOT" || exit
    SPHINX_V_LAUNCH="$(mktemp -d "${TMPDIR:-/tmp}/sphinx-v-launch.XXXXXX")"
    export SPHINX_V_LAUNCH SPHINX_V_STOP_SECONDS="${STOP_SECONDS:-270}"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # torchrun's own choice, without its warning
    trap 'rm -rf "$SPHINX_V_LAUNCH"' EXIT

    # A group of its own (set -m), so that Ctrl-C reaches it once, from us. Deaf to SIGTERM and SIGUSR1, which a cluster
    # sends to every process of a job: torchrun would kill the workers in the middle of saving.
    set -m
    (
        trap '' TERM USR1
        exec "$PYTHON" -m torch.distributed.run --nnodes="${NNODES:-1}" --nproc_per_node="$gpus" "${RENDEZVOUS[@]}" \
            --max_restarts="${MAX_RESTARTS:-3}" --signals_to_handle=SIGINT,SIGHUP,SIGQUIT \
            -m accessory.runtime.worker accessory.main --config "$config" "$@"
    ) </dev/null &
    TORCHRUN=$!
    set +m
    trap _ask_to_stop TERM USR1
    trap 'INTERRUPTED=1; kill -INT "$TORCHRUN" 2>/dev/null || true' INT
    # A signal ends the wait; the next one has torchrun's exit code, also where that has ended meanwhile.
    INTERRUPTED=1
    while [ -n "$INTERRUPTED" ]; do
        INTERRUPTED=""
        wait "$TORCHRUN" && code=0 || code=$?
    done
    if [ "$code" = 0 ] && _noted stopped; then
        echo "Stopped on request; the same command goes on from the last saved state." >&2
        code=75
    elif [ "$code" != 0 ] && _noted refused; then
        echo "The training refused its options or its data: the sentence that says why is above." >&2
        code=2
    fi
    exit "$code"
}
