#!/usr/bin/env bash
# The table of edits; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs null_text beside the others.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
all inverter=ddim,negative_prompt,edict,fpi,ife
auto inverter=auto $(by_scale inverter.descents=2 "" "")
plain guidance=1 inverter=ddim,edict,fpi,ife,auto
null_text inverter=null_text limit=$(by_scale 2 12 100 50)
END
"$python" experiments/studies/editing_table/table.py "$out"
