#!/usr/bin/env bash
# The table of edits of held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs null_text beside the others.
source "$(dirname "$0")/../sweeps.sh"

sweeps "$@" <<END
all
null_text hydra.sweeper.params.inverter=null_text limit=50
END
"$python" experiments/editing_table/table.py "$out"
