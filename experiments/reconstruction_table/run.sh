#!/usr/bin/env bash
# The table of inverters on 64 held-out scenes at guidance 1 and 3; extra arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/reconstruction_table/$(date +%Y-%m-%d_%H-%M-%S)

table() { # name, then what sets this inverter apart
    python run.py experiment=reconstruction_table "hydra.sweep.dir=$out/$1" "${@:2}"
}

table ddim inverter=ddim inverter.label=target,source "$@"
table ife inverter=ife inverter.variant=corrected,cached,literal "$@"
table fpi inverter=fpi inverter.iterations=1,2,3,5 "$@"
table aidi inverter=aidi "$@"
python experiments/reconstruction_table/table.py "$out"
