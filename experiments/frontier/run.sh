#!/usr/bin/env bash
# Accuracy against evaluations; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
source "$(dirname "$0")/../sweeps.sh"

auto="inverter=auto inverter.accuracy=$(by_scale 20 20,30,40,50,60 20,30,40,50,60)"
aidi="inverter=aidi inverter.iterations=$(by_scale 2 2,3,5,8 2,3,5,8)"
fpi="inverter=fpi inverter.iterations=$(by_scale 1,2 1,2,3,5,8 1,2,3,5,8)"
every="steps=$(by_scale 3 50 50) guidance=3 limit=$(by_scale 1 8 500)"
# The grid of the implicit methods; at N = 50 and w = 3 the images above serve.
long="limit=$(by_scale 1 4 100) steps=$(by_scale 3 50 50) guidance=$(by_scale 1 1,7.5 1,7.5)"
short="limit=$(by_scale 1 4 100) steps=$(by_scale 2 10,20 10,20) guidance=$(by_scale 1 1,3,7.5 1,3,7.5)"
sweeps "$@" <<END
null_text $every inverter=null_text
aidi $every $aidi
fpi $every $fpi
auto $every $auto
others $every inverter=ife,renoise,newton,negative_prompt,edict,bdia,belm,edit_friendly,direct
long_fpi $long $fpi
long_aidi $long $aidi
long_auto $long $auto
long_others $long inverter=ife,edict,belm
short_fpi $short $fpi
short_aidi $short $aidi
short_auto $short $auto
short_others $short inverter=ife,edict,belm
END
"$python" experiments/frontier/plot.py "$out"
