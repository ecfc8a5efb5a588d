# Sourced by the run.sh of a folder: where its runs go, and how a sweep of its experiment is made.
set -euo pipefail
name=$(basename "$(cd "$(dirname "$0")" && pwd)")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=outputs/$name/$(date +%Y-%m-%d_%H-%M-%S)
python=${PYTHON:-.venv/bin/python}
export name out python

sweep() { # folder, then its overrides
    # Exit code 1 means that some examples failed; the table says how many were measured.
    "$python" run.py "experiment=$name" "hydra.sweep.dir=$out/$1" "${@:2}" || [ $? -eq 1 ]
}
export -f sweep

sweeps() { # overrides for all; from the input, a sweep a line
    xargs -P "${PROCESSES:-1}" -I{} bash -c "sweep {} $*"
}
