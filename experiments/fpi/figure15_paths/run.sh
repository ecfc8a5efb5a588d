#!/usr/bin/env bash
# Paths between two seeds and centroids of five as pictures; extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
path task.mode=path inverter=ddim,fpi task/path=linear,slerp,nao
centroid task.mode=centroid inverter=ddim,fpi task/centroid=mean,nao
END
"$python" experiments/fpi/figure15_paths/plot.py "$out"
