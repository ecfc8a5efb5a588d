#!/usr/bin/env bash
# PSNR against seconds, on a machine that does nothing else; extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<< all
"$python" experiments/fpi/figure5_psnr_time/plot.py "$out"
