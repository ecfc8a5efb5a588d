#!/usr/bin/env bash
# The table of inverters on held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two at a time, which on two cores is a fifth faster.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=outputs/reconstruction_table/$(date +%Y-%m-%d_%H-%M-%S)

export python=${PYTHON:-.venv/bin/python} out
sweep() { # folder, then its overrides
    # Exit code 1 means that some images failed; the table says how many were measured.
    "$python" run.py experiment=reconstruction_table "hydra.sweep.dir=$out/$1" "${@:2}" ||
        [ $? -eq 1 ]
}
export -f sweep

auto="inverter=auto"
ddim="inverter=ddim"
fpi="inverter=fpi inverter.iterations=1,2,3,5"
ife="inverter=ife"
aidi="inverter=aidi"
plain="guidance=1 limit=256"
guided="guidance=3 limit=64"
few="steps=10,20 guidance=1,3,7.5 limit=8 batch_size=8"
cat <<END | xargs -P "${PROCESSES:-1}" -I{} bash -c "sweep {} $*"
plain/fpi $plain $fpi
plain/ddim $plain $ddim
plain/ife $plain $ife
plain/auto $plain $auto
guided/fpi $guided $fpi
guided/aidi $guided $aidi
guided/cached $guided $ife inverter.variant=cached
guided/ddim $guided $ddim
guided/ife $guided $ife
guided/auto $guided $auto
few/fpi $few $fpi
few/aidi $few $aidi
few/ddim $few $ddim
few/ife $few $ife
few/auto $few $auto
END
"$python" experiments/reconstruction_table/table.py "$out"
