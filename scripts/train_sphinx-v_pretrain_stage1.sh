#!/usr/bin/env bash
# Stage 1 of the published recipe, alignment: token embeddings, head, projections, tags and prompt encoder learn.
#   bash scripts/train_sphinx-v_pretrain_stage1.sh [key.sub=value ...]
# Its options are in accessory/configs/stage1_pretrain.yaml; GPUS, NNODES and others are explained in scripts/_train.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_train.sh"
train accessory/configs/stage1_pretrain.yaml "$@"
