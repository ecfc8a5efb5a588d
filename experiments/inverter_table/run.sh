#!/usr/bin/env bash
# Every inverter on the same held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/inverter_table/$(date +%Y-%m-%d_%H-%M-%S)

export python=${PYTHON:-.venv/bin/python} out
sweep() { # folder, then its overrides
    # Exit code 1 means that some images failed; the table says how many were measured.
    "$python" run.py experiment=inverter_table "hydra.sweep.dir=$out/$1" "${@:2}" || [ $? -eq 1 ]
}
export -f sweep

# Most expensive first, so that two processes end together.
cat <<END | xargs -P "${PROCESSES:-1}" -I{} bash -c "sweep {} $*"
null_text guidance=1,3 inverter=null_text
own guidance=7.5 inverter=null_text,negative_prompt
gradients guidance=1,3 inverter=newton
iterated guidance=1,3 inverter=fpi,aidi,renoise
two guidance=1,3 inverter=edict,bdia,belm,edit_friendly,direct
one guidance=1,3 inverter=ddim,ife,auto,negative_prompt
END
"$python" experiments/inverter_table/table.py "$out"
