#!/usr/bin/env bash
# Rare concepts by inverter, with and without SeedSelect; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
source "$(dirname "$0")/../sweeps.sh"

sweep 0_plain task.centroid=null task.seedselect=null "$@"
sweep 1_seedselect task.centroid=null task/seedselect=from_noise "$@"
inverters=${INVERTERS:-ddim fpi auto}
sweep 2_nao "inverter=${inverters// /,}" task.seedselect=null "$@"
sweep 3_nao_seedselect "inverter=${inverters// /,}" "$@"
"$python" experiments/table2_rare_concepts/table.py "$out"
