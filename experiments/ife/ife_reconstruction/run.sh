#!/usr/bin/env bash
# The iteration-free estimator beside iterative inverters; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two sweeps at a time.
source "$(dirname "$0")/../../sweeps.sh"

guidance=guidance=$(by_scale 3 1,3 1,3)
# With three iterations a step, iterative methods take the 150 evaluations of IFE's comparison.
sweeps "$@" <<END
fpi $guidance inverter=fpi inverter.iterations=2,3
aidi $guidance inverter=aidi inverter.iterations=3
ife $guidance inverter=ife inverter.variant=corrected,cached,literal
others $guidance inverter=ddim,renoise
END
"$python" experiments/ife/ife_reconstruction/table.py "$out"
