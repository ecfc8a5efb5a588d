#!/usr/bin/env bash
# The table of inverters on held-out scenes; extra arguments go to run.py.
# PROCESSES=2 OMP_NUM_THREADS=1 run.sh runs two at a time, which on two cores is a fifth faster.
source "$(dirname "$0")/../sweeps.sh"

# fpi with one iteration is ddim, bit for bit.
fpi="inverter=fpi inverter.iterations=2,3,5"
rest="inverter=ddim,ife,auto"
plain="guidance=1 limit=256"
guided="guidance=3 limit=64"
few="steps=10,20 guidance=1,3,7.5 limit=8"
sweeps "$@" <<END
plain/fpi $plain $fpi
plain/rest $plain $rest
guided/fpi $guided $fpi
guided/rest $guided $rest
few/fpi $few $fpi
few/rest $few $rest
END
"$python" experiments/reconstruction_table/table.py "$out"
