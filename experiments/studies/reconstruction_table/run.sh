#!/usr/bin/env bash
# The table of inverters; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two at a time, which on two cores is a fifth faster;
# PHOTOGRAPHS=<folder of COCO> adds how the bundled model does on what it has never seen.
source "$(dirname "$0")/../../sweeps.sh"

# fpi with one iteration is ddim, bit for bit.
fpi="inverter=fpi inverter.iterations=2,3,5"
one="inverter=ddim,ife"
plain="guidance=1 steps=$(by_scale 2 50 50) limit=$(by_scale 2 48 5000 256)"
guided="guidance=3 steps=$(by_scale 2 50 50) limit=$(by_scale 2 16 5000 64)"
few="steps=$(by_scale 2 10,20 10,20) guidance=$(by_scale 7.5 1,3,7.5 1,3,7.5) limit=$(by_scale 2 4 500 8)"
sweeps "$@" <<END
plain/fpi $plain $fpi
plain/one $plain $one
guided/fpi $guided $fpi
guided/one $guided $one
few/fpi $few $fpi
few/one $few $one
END
if [ -n "${PHOTOGRAPHS:-}" ]; then
    coco="dataset=coco dataset.root=$PHOTOGRAPHS model=scenes steps=$(by_scale 2 50 50)"
    sweeps "$@" <<< "photographs $coco guidance=1,3 limit=$(by_scale 2 8 5000 32) inverter=ddim,ife,fpi"
fi
"$python" experiments/studies/reconstruction_table/table.py "$out"
