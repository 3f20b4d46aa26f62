#!/usr/bin/env bash
#SBATCH --job-name=vmatte
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
# Nodes of one's own: at its end `ray symmetric-run` stops all of this user's Ray on them.
#SBATCH --exclusive
#SBATCH --time=12:00:00
# A farm for one batch: sbatch configs/slurm.sh jobs.yaml
# Each node gives Ray its GPUs and cores, vmatte runs on the first one, and Ray ends with it. Where Slurm ends it early,
# what is finished stays: submit the same command again.
set -euo pipefail
jobs=${1:?usage: sbatch slurm.sh jobs.yaml}

# Both on a folder that all nodes share: the environment with vmatte[ray], and the cache of weights and mattes.
source "${VMATTE_VENV:-$HOME/vmatte-farm}/bin/activate"
export VMATTE_CACHE=${VMATTE_CACHE:-$SLURM_SUBMIT_DIR/cache}
export RAY_USAGE_STATS_ENABLED=0
# Only who has this user's token (in the shared home folder) may talk to the farm.
export RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$head:${RAY_PORT:-6379}

srun ray symmetric-run --address "$address" --min-nodes "$SLURM_NNODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "$SLURM_GPUS_ON_NODE" -- \
    vmatte batch "$jobs" --ray "$address"
