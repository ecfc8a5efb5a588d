#!/usr/bin/env bash
# Accuracy against evaluations, on held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
source "$(dirname "$0")/../sweeps.sh"

auto="inverter=auto inverter.accuracy=20,30,40,50,60"
aidi="inverter=aidi inverter.iterations=2,3,5,8"
fpi="inverter=fpi inverter.iterations=1,2,3,5,8"
every="steps=50 guidance=3 limit=16"
# The grid of the implicit methods; at N = 50 and w = 3 the sixteen scenes above serve.
long="limit=8 steps=50 guidance=1,7.5"
short="limit=8 steps=10,20 guidance=1,3,7.5"
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
