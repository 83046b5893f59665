#!/usr/bin/env bash
# One run of `autosing process` on Slurm: a Ray head on the first node, workers on the others, all gone at the end.
#   sbatch deploy/slurm.sh            # again after a time-out or a failure: what is committed stays
#SBATCH --job-name=autosing
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=0
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=autosing-%j.log
set -euo pipefail

# Change here, or set them before sbatch. All paths must be ones that every node sees.
: "${DATASET:=/shared/songs}"                 # a path or a URL
: "${STAGES:=}"                               # none: all unlabelled ones
: "${SETTINGS:=/shared/datasets.yaml}"
: "${VENV:=/shared/venv}"                     # where autosing is installed
: "${PORT:=6379}"

# shellcheck disable=SC1091
source "$VENV/bin/activate"
cores=${SLURM_CPUS_PER_TASK:?start this with sbatch} gpus=${SLURM_GPUS_ON_NODE:-0} nodes=$SLURM_JOB_NUM_NODES
# Not by `head`: who writes to it after it has read a line ends with 141, and so would this.
mapfile -t names < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${names[0]:?scontrol names no node}
address=$head:$PORT

# Others on these nodes could else run code as this user. srun hands the environment on; nothing is written.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
ray_start=(ray start --block "--num-cpus=$cores" "--num-gpus=$gpus" --object-store-memory=100000000)

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
srun --nodes=1 --ntasks=1 --nodelist="$head" "${ray_start[@]}" --head "--port=$PORT" --dashboard-host=127.0.0.1 &
for _ in {1..60}; do
    ray status --address="$address" >/dev/null 2>&1 && break
    sleep 2
done
if ((nodes > 1)); then
    srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" "${ray_start[@]}" "--address=$address" &
fi

# Workers of nodes that are not there yet wait for them.
read -r -a stages <<<"$STAGES"
autosing process "$DATASET" "${stages[@]}" --config "$SETTINGS" --address "$address" \
    --workers $((nodes * cores)) --gpu-workers $((nodes * gpus))
