#!/bin/bash
# SLURM: sbatch configs/cluster/slurm.sh [CONFIG [key=value ...]]        (from the checkout, which all nodes mount)
# The first node is the head, all nodes give their GPUs and CPUs; SLURM sends SIGTERM two minutes before the time is over.
#SBATCH --job-name=rrvf
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

config=${1:-configs/chart_7b.yaml}
shift || true
root=${SLURM_SUBMIT_DIR:-$PWD}
cd "$root"
# shellcheck disable=SC1091
. .venv/bin/activate

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS="$ip:$port"
gpus=${SLURM_GPUS_ON_NODE:-0}
cpus=${SLURM_CPUS_PER_TASK:-1}

srun --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --block --node-ip-address="$ip" --port="$port" --num-cpus="$cpus" --num-gpus="$gpus" &
others=$((${#nodes[@]} - 1))
if [ "$others" -gt 0 ]; then
  sleep "${RRVF_HEAD_S:-20}"
  srun --nodes="$others" --ntasks="$others" --exclude="$head" \
    ray start --block --address="$RAY_ADDRESS" --num-cpus="$cpus" --num-gpus="$gpus" &
fi

# the driver waits for nodes that are still starting (cluster.room_s); SIGTERM is passed on: the step ends and is saved
driver='' stopped=''
trap 'stopped=1; [ -z "$driver" ] || kill -TERM "$driver"' TERM INT
python -m training.train "$config" run.dir="$root/runs" "$@" &
driver=$!
[ -z "$stopped" ] || kill -TERM "$driver"  # it came before there was a driver to pass it on to
status=0
wait "$driver" || status=$?
# interrupted by the signal, `wait` returns at once: wait for the checkpoint
if kill -0 "$driver" 2> /dev/null; then
  status=0
  wait "$driver" || status=$?
fi
mapfile -t rest < <(jobs -p)
kill "${rest[@]}" 2> /dev/null || true
exit "$status"
