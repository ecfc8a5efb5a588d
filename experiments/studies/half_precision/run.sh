#!/usr/bin/env bash
# Networks in half precision against single; extra arguments go to run.py.
source "$(dirname "$0")/../../sweeps.sh"

sweeps "$@" <<END
all
END
"$python" experiments/studies/half_precision/table.py "$out"
