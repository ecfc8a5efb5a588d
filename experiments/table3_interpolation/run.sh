#!/usr/bin/env bash
# Paths and centroids of seeds by inverter; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/table3_interpolation/$(date +%Y-%m-%d_%H-%M-%S)
python=${PYTHON:-.venv/bin/python}

run() { # folder, then its overrides
    # Exit code 1 means that some examples failed; the table says how many were measured.
    "$python" run.py experiment=table3_interpolation "hydra.sweep.dir=$out/$1" "${@:2}" ||
        [ $? -eq 1 ]
}

for inverter in ${INVERTERS:-ddim ife fpi auto}; do
    path="inverter=$inverter task.mode=path task.real=5 limit=108"
    run "path/$inverter" $path task/path=nao inversions=true "$@"
    run "path/$inverter-others" $path task/path=linear,slerp "$@" \
        "task.inversions=$out/path/$inverter/0"
    centroid="inverter=$inverter task.mode=centroid task.real=1 limit=504"
    run "centroid/$inverter" $centroid task/centroid=nao inversions=true "$@"
    run "centroid/$inverter-others" $centroid task/centroid=mean,frechet "$@" \
        "task.inversions=$out/centroid/$inverter/0"
done
"$python" experiments/table3_interpolation/table.py "$out"
