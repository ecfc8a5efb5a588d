#!/usr/bin/env bash
# Many edits of a few images; extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<< all
"$python" experiments/fpi/figure13_many_edits/plot.py "$out"
