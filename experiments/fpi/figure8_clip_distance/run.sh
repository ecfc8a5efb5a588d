#!/usr/bin/env bash
# Fit to the prompt against distance to the original; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs null_text beside the others.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
null_text inverter=null_text
others inverter=ddim,edict,fpi
END
"$python" experiments/fpi/figure8_clip_distance/plot.py "$out"
