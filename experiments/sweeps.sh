# Sourced by the run.sh of a folder: where its runs go, how large they are, how sweeps are made.
set -euo pipefail
name=$(basename "$(cd "$(dirname "$0")" && pwd)")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${OUT:-outputs/$name/$(date +%Y-%m-%d_%H-%M-%S)}
python=${PYTHON:-.venv/bin/python}
export name out python

scale=default
for argument in "$@"; do
    case $argument in scale=*) scale=${argument#*=} ;; esac
done

by_scale() { # the size at scale smoke, default and paper, and at full where that is another
    case $scale in smoke) echo "$1" ;; paper) echo "$3" ;; full) echo "${4:-$2}" ;; *) echo "$2" ;; esac
}

sweeps() { # overrides for all; from the input, a sweep a line: its folder, then its overrides
    local processes=${PROCESSES:-1} each=1000
    [ "$processes" = 1 ] || each=1 # one process imports once; of several each takes what is next
    tr '\n' '\0' | xargs -0 -n "$each" -P "$processes" \
        "$python" -m experiments.sweeps "$@" -- || exit 2
}
