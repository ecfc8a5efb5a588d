#!/usr/bin/env bash
# Latents with and without the prompt-aware adjustment; extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<< all
"$python" experiments/fpi/figure4_adjustment/plot.py "$out"
