#!/usr/bin/env bash
# Paths and centroids of seeds by inverter; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
source "$(dirname "$0")/../../sweeps.sh"

path="task.mode=path task.real=5 limit=$(by_scale 1 36 1000 108)"
centroid="task.mode=centroid task.real=1 limit=$(by_scale 1 72 1000 504)"
all="ddim ife fpi auto"
inverters=${INVERTERS:-$(by_scale "ddim fpi" "$all" "$all")}
# What was inverted for one way between seeds is taken for the others.
for inverter in $inverters; do
    echo "path/$inverter $path inverter=$inverter task/path=nao inversions=true"
    echo "centroid/$inverter $centroid inverter=$inverter task/centroid=nao inversions=true"
done | sweeps "$@"
for inverter in $inverters; do
    echo "path/$inverter-others $path inverter=$inverter task/path=linear,slerp" \
        "task.inversions=$out/path/$inverter/0"
    echo "centroid/$inverter-others $centroid inverter=$inverter task/centroid=mean,frechet" \
        "task.inversions=$out/centroid/$inverter/0"
done | sweeps "$@"
"$python" experiments/fpi/table3_interpolation/table.py "$out"
