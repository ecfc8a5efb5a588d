#!/usr/bin/env bash
# Null-text and EDICT in FPI's time and in five times that, on a machine that does nothing else;
# extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

n=$(by_scale 3 50 50)
# The paper's settings are 2 and 10 inner steps, 10 and 35 grid steps; those between and beyond
# show where the budgets are on another clock.
sweeps "$@" <<END
fpi inverter=fpi steps=$n
null_text inverter=null_text steps=$n inverter.inner_steps=$(by_scale 1,2 1,2,5,10 1,2,5,10)
edict inverter=edict steps=$(by_scale 2,3 5,10,20,35,50 5,10,20,35,50)
END
"$python" experiments/fpi/figure9_time_budget/plot.py "$out"
