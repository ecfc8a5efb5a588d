#!/usr/bin/env bash
# Accuracy against evaluations; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
source "$(dirname "$0")/../../sweeps.sh"

fpi="inverter=fpi inverter.iterations"
aidi="inverter=aidi inverter.iterations"
auto="inverter=auto inverter.accuracy"
every="steps=$(by_scale 3 50 50) guidance=3 limit=$(by_scale 1 4 500 16)"
# The grid of the implicit methods; at N = 50 and w = 3 the images above serve.
long="limit=$(by_scale 1 2 100 8) steps=50"
short="limit=$(by_scale 1 2 100 8) steps=$(by_scale 2 10,20 10,20)"
all="guidance=1,3,7.5"
sweeps "$@" <<END
null_text $every inverter=null_text
every_aidi $every $aidi=$(by_scale 2 3,5 2,3,5,8 3,5,8)
every_fpi $every $fpi=$(by_scale 2 2,5 2,3,5,8 2,3,5)
every_auto $every $auto=$(by_scale 20 40,60 20,40,60 20,40,60)
others $every inverter=ddim,ife,renoise,newton,negative_prompt,edict,bdia,belm,edit_friendly
short_auto $short guidance=$(by_scale 1 1,3 1,3) $auto=$(by_scale 20 40 20,40,60 20,40,60)
END
# What is dearest is left out where cheaper settings tell the same.
[ "$scale" = smoke ] || sweeps "$@" <<END
hard_auto $short guidance=7.5 $auto=40
long_guided_auto $long guidance=7.5 $auto=40
long_plain $long guidance=1 inverter=ddim,ife,edict,belm
long_plain_fpi $long guidance=1 $fpi=$(by_scale "" 2,5 2,3,5 2,3,5)
long_plain_aidi $long guidance=1 $aidi=5
long_plain_auto $long guidance=1 $auto=$(by_scale "" 40 20,40,60 20,40,60)
long_guided $long guidance=7.5 inverter=ife,edict,belm
long_guided_fpi $long guidance=7.5 $fpi=$(by_scale "" 5 3,5 3,5)
long_guided_aidi $long guidance=7.5 $aidi=5
short $short $all inverter=ddim,ife,edict,belm
short_fpi $short $all $fpi=$(by_scale "" 2,5 2,3,5,8 2,3,5,8)
short_aidi $short $all $aidi=$(by_scale "" 5 2,3,5,8 5,8)
END
# Whether more gradients bring the hardest closer.
[ "$scale" != full ] || sweeps "$@" <<END
hardest limit=8 steps=20 guidance=7.5 $auto=40 inverter.descents=320
END
"$python" experiments/studies/frontier/plot.py "$out"
