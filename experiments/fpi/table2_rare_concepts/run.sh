#!/usr/bin/env bash
# Rare concepts by inverter, with and without SeedSelect; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
source "$(dirname "$0")/../../sweeps.sh"

all="ddim fpi auto"
inverters=${INVERTERS:-$(by_scale fpi "ddim fpi" "$all" "$all")}
{ # the longest first
    echo "1_seedselect task.centroid=null task/seedselect=from_noise"
    for inverter in $inverters; do
        echo "2_nao/$inverter inverter=$inverter task.seedselect=null inversions=true"
    done
    echo "0_plain task.centroid=null task.seedselect=null"
} | sweeps "$@"
for inverter in $inverters; do # what was inverted for the centroid alone is taken
    echo "3_nao_seedselect/$inverter inverter=$inverter task.inversions=$out/2_nao/$inverter/0"
done | sweeps "$@"
"$python" experiments/fpi/table2_rare_concepts/table.py "$out"
