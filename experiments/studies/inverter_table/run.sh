#!/usr/bin/env bash
# Every inverter on the same images; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
source "$(dirname "$0")/../../sweeps.sh"

# Most expensive first, so that two processes end together.
sweeps "$@" <<END
null_text guidance=1,3 inverter=null_text
own guidance=7.5 inverter=null_text,negative_prompt
gradients guidance=1,3 inverter=newton
iterated guidance=1,3 inverter=fpi,aidi,renoise
two guidance=1,3 inverter=edict,bdia,belm,edit_friendly,direct
one guidance=1,3 inverter=ddim,ife,auto,negative_prompt
END
"$python" experiments/studies/inverter_table/table.py "$out"
