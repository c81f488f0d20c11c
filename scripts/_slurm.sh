# Sourced by the Slurm forms of the training launchers. Gives them slurm_train SCRIPT [ARGUMENTS ...]: SCRIPT once on each
# node of the job, with what it needs to find the others.
#
# Slurm sends SIGUSR1 to the batch script before the time is up (#SBATCH --signal). It is handed to the training, which
# saves its state and ends with exit code 75; then the job is queued again and goes on from there. The same happens for
# SIGTERM, where a job is preempted. Sbatch runs a copy of the script, so the repository is where it was submitted from.

_first_host() {
    local hosts
    hosts="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
    echo "${hosts%%$'\n'*}"
}

_hand_on() { # srun hands signals to the processes it has started
    INTERRUPTED=1
    kill -USR1 "$STEP" 2>/dev/null || true
}

slurm_train() { # slurm_train SCRIPT [ARGUMENTS ...]; ends the script with the training's exit code
    local script="$1" code
    shift
    if [ -z "${SLURM_JOB_ID:-}" ]; then
        echo "This is a Slurm job; submit it with sbatch, or run $script on a machine with GPUs." >&2
        exit 2
    fi
    cd "${SLURM_SUBMIT_DIR:-.}" || exit
    MASTER_ADDR="$(_first_host)"
    # A port that jobs on the same node do not share.
    MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}"
    export MASTER_ADDR MASTER_PORT NNODES="${SLURM_JOB_NUM_NODES:-1}" RDZV_ID="sphinx-v-$SLURM_JOB_ID"
    [ -z "${SLURM_GPUS_ON_NODE:-}" ] || export GPUS="${GPUS:-$SLURM_GPUS_ON_NODE}"
    # Nodes end one after the other, and none is killed for ending with 75; 15 minutes for what has lost the others.
    srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=900 bash "$script" "$@" &
    STEP=$!
    trap _hand_on USR1 TERM
    INTERRUPTED=1
    while [ -n "$INTERRUPTED" ]; do
        INTERRUPTED=""
        wait "$STEP" && code=0 || code=$?
    done
    if [ "$code" = 75 ]; then
        echo "Stopped with a saved state; queueing job $SLURM_JOB_ID again."
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}
