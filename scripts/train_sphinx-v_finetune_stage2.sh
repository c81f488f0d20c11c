#!/usr/bin/env bash
# Stage 2 of the published recipe, fine-tuning: the whole language model, projections and tags learn.
#   bash scripts/train_sphinx-v_finetune_stage2.sh [key.sub=value ...]
# Its options are in accessory/configs/stage2_finetune.yaml; GPUS, NNODES and others are explained in scripts/_train.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_train.sh"
train accessory/configs/stage2_finetune.yaml "$@"
