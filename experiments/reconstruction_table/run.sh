#!/usr/bin/env bash
# The table of inverters on 64 held-out scenes at guidance 1 and 3; extra arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
out=outputs/reconstruction_table/$(date +%Y-%m-%d_%H-%M-%S)

table() { # name, then what sets this inverter apart
    # Exit code 1 means that some images failed; the table says how many were measured.
    "$python" run.py experiment=reconstruction_table "hydra.sweep.dir=$out/$1" "${@:2}" ||
        [ $? -eq 1 ]
}

table ddim inverter=ddim inverter.label=target,source "$@"
table ife inverter=ife inverter.variant=corrected,cached,literal "$@"
table fpi inverter=fpi inverter.iterations=1,2,3,5 "$@"
table aidi inverter=aidi "$@"
"$python" experiments/reconstruction_table/table.py "$out"
