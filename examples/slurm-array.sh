#!/bin/bash
# A dataset's captions and answers as a Slurm job array: each task captions and asks its own shard, independently.
#
#   jid=$(sbatch --parsable --array=1-64 examples/slurm-array.sh)
#   sbatch --dependency=afterany:$jid examples/slurm-merge.sh
#
# Each task keeps its cache on the node's own disk, where SQLite is safe, and leaves a bundle on the shared disk. A task
# that is run again (`sbatch --array=7,12 …`) starts from its bundle and its run, so nothing is computed twice.
#
#SBATCH --job-name=cascade
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

SHARE=${SHARE:-$PWD/shared-runs}                 # on the shared disk
DATASET=${DATASET:-mmar}
CAPTIONS=${CAPTIONS:-speech=whisper,sound=clapcap,music=clap-music}
LLM=${LLM:-openai/qwen3 --api-base http://llm-host:8000/v1}
SHARDS=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}        # set SHARDS to run a few tasks of the array again
SHARD=$SLURM_ARRAY_TASK_ID/$SHARDS

export CASCADE_CACHE=${TMPDIR:-/tmp}/cascade-$SLURM_JOB_ID-$SLURM_ARRAY_TASK_ID
BUNDLE=$SHARE/captions/$SLURM_ARRAY_TASK_ID-of-$SHARDS.jsonl
mkdir -p "$SHARE/captions" "$SHARE/runs"

# The captions are kept however the task ends. Slurm signals this script before the time limit (--signal).
save() {
    if [ -f "$CASCADE_CACHE/cache.db" ]; then cascade cache export "$BUNDLE"; fi
    rm -rf "$CASCADE_CACHE"
}
trap save EXIT
trap 'kill "$RUN"; wait "$RUN" || true; exit 143' TERM

if [ -f "$BUNDLE" ]; then cascade cache import "$BUNDLE"; fi
cascade run --dataset "$DATASET" --captions "$CAPTIONS" --llm $LLM --shard "$SHARD" \
    --out "$SHARE/runs/$SLURM_ARRAY_TASK_ID-of-$SHARDS" &
RUN=$!
wait "$RUN" || [ $? -eq 3 ]  # 3: finished, but items failed; the next session tries them again
