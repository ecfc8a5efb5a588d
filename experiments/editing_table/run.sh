#!/usr/bin/env bash
# The table of edits of held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs null_text beside the others.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/editing_table/$(date +%Y-%m-%d_%H-%M-%S)

export python=${PYTHON:-.venv/bin/python} out
sweep() { # folder, then its overrides
    # Exit code 1 means that some edits failed; the table says how many were measured.
    "$python" run.py experiment=editing_table "hydra.sweep.dir=$out/$1" "${@:2}" ||
        [ $? -eq 1 ]
}
export -f sweep

cat <<END | xargs -P "${PROCESSES:-1}" -I{} bash -c "sweep {} $*"
all
null_text hydra.sweeper.params.inverter=null_text limit=50
END
"$python" experiments/editing_table/table.py "$out"
