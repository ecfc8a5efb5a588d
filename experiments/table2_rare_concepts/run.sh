#!/usr/bin/env bash
# Rare concepts by inverter, with and without SeedSelect; extra arguments go to run.py.
# INVERTERS="ddim fpi" run.sh leaves the others out.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/table2_rare_concepts/$(date +%Y-%m-%d_%H-%M-%S)
python=${PYTHON:-.venv/bin/python}

run() { # folder, then its overrides
    # Exit code 1 means that some examples failed; the table says how many were measured.
    "$python" run.py experiment=table2_rare_concepts "hydra.sweep.dir=$out/$1" "${@:2}" ||
        [ $? -eq 1 ]
}

run 0_plain task.centroid=null task.seedselect=null "$@"
run 1_seedselect task.centroid=null task/seedselect=from_noise "$@"
inverters=${INVERTERS:-ddim fpi auto}
run 2_nao "inverter=${inverters// /,}" task.seedselect=null "$@"
run 3_nao_seedselect "inverter=${inverters// /,}" "$@"
"$python" experiments/table2_rare_concepts/table.py "$out"
