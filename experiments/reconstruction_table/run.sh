#!/usr/bin/env bash
# The table of inverters; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two at a time, which on two cores is a fifth faster.
source "$(dirname "$0")/../sweeps.sh"

# fpi with one iteration is ddim, bit for bit.
fpi="inverter=fpi inverter.iterations=2,3,5"
rest="inverter=ddim,ife,auto"
plain="guidance=1 steps=$(by_scale 2 50 50) limit=$(by_scale 2 32 5000)"
guided="guidance=3 steps=$(by_scale 2 50 50) limit=$(by_scale 2 16 5000)"
few="steps=$(by_scale 2 10,20 10,20) guidance=$(by_scale 7.5 1,3,7.5 1,3,7.5) limit=$(by_scale 2 8 500)"
sweeps "$@" <<END
plain/fpi $plain $fpi
plain/rest $plain $rest
guided/fpi $guided $fpi
guided/rest $guided $rest
few/fpi $few $fpi
few/rest $few $rest
END
"$python" experiments/reconstruction_table/table.py "$out"
