#!/usr/bin/env bash
#SBATCH --job-name=sphinx-v-stage1
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# The same as a Slurm job, from the repository: one torchrun on each node, saved and queued again before its time is up.
#   sbatch scripts/slurm_train_sphinx-v_pretrain_stage1.sh [key.sub=value ...]
# Change what is above there too: sbatch --nodes=4 --partition=NAME scripts/…; see scripts/_slurm.sh.
set -euo pipefail
source "${SLURM_SUBMIT_DIR:-.}/scripts/_slurm.sh"
slurm_train scripts/train_sphinx-v_pretrain_stage1.sh "$@"
