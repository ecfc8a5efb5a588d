#!/usr/bin/env bash
# Paths and centroids of seeds by inverter; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
source "$(dirname "$0")/../sweeps.sh"

for inverter in ${INVERTERS:-ddim ife fpi auto}; do
    path="inverter=$inverter task.mode=path task.real=5 limit=108"
    sweep "path/$inverter" $path task/path=nao inversions=true "$@"
    sweep "path/$inverter-others" $path task/path=linear,slerp "$@" \
        "task.inversions=$out/path/$inverter/0"
    centroid="inverter=$inverter task.mode=centroid task.real=1 limit=504"
    sweep "centroid/$inverter" $centroid task/centroid=nao inversions=true "$@"
    sweep "centroid/$inverter-others" $centroid task/centroid=mean,frechet "$@" \
        "task.inversions=$out/centroid/$inverter/0"
done
"$python" experiments/table3_interpolation/table.py "$out"
