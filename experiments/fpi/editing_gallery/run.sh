#!/usr/bin/env bash
# Reconstructions and edits after null_text, edict and fpi; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs null_text beside the others.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
null_text inverter=null_text
others inverter=edict,fpi
END
"$python" experiments/fpi/editing_gallery/plot.py "$out"
