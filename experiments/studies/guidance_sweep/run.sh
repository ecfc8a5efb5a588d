#!/usr/bin/env bash
# What guidance does to inversions; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs both sweeps at a time.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
auto inverter=auto $(by_scale inverter.descents=2 "" "")
others inverter=ddim,ife,fpi,aidi,edict
END
"$python" experiments/studies/guidance_sweep/plot.py "$out"
