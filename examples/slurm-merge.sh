#!/bin/bash
# After examples/slurm-array.sh: merge the shards into one run and one bundle of captions.
#SBATCH --job-name=cascade-merge
#SBATCH --cpus-per-task=2
set -euo pipefail

SHARE=${SHARE:-$PWD/shared-runs}
OUT=${OUT:-$SHARE/merged}
export CASCADE_CACHE=${TMPDIR:-/tmp}/cascade-merge-$SLURM_JOB_ID
trap 'rm -rf "$CASCADE_CACHE"' EXIT

cascade cache import "$SHARE"/captions/*.jsonl
cascade cache export "$SHARE/captions.jsonl"
cascade merge "$SHARE"/runs/* --out "$OUT" || [ $? -eq 3 ]
cascade verify "$OUT"
cascade score "$OUT"
