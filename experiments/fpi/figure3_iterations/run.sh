#!/usr/bin/env bash
# Residuals and PSNR against iterations; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs both sweeps at a time.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
guided guidance=3 limit=$(by_scale 2 16 50)
plain guidance=1
END
"$python" experiments/fpi/figure3_iterations/plot.py "$out"
