"""Makes sweeps one after another, in one process, for the run.sh of an experiment.

``python -m experiments.sweeps SHARED... -- SWEEP...`` in the root of the repository. Each SWEEP is
one argument, the name of its folder and its overrides; those that are SHARED follow them. The
folder of all is the environment's ``out``, the experiment its ``name``.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fpinv.run import main as command_line
from fpinv.run.job import FAILED
from fpinv.run.processes import conclude
from run import main as hydra_main

CONF = Path(__file__).parents[1] / "conf"


def main(arguments: Sequence[str]) -> int:
    """Makes the sweeps; stops at the first that cannot be made, whose exit code it returns.

    Failed examples stop nothing: the results say how many were measured.
    """
    split = arguments.index("--")
    shared, sweeps = arguments[:split], arguments[split + 1 :]
    for folder, *overrides in filter(None, map(shlex.split, sweeps)):
        sys.argv = ["run.py", "-cp", str(CONF), f"experiment={os.environ['name']}"]
        sys.argv += [f"hydra.sweep.dir={os.environ['out']}/{folder}", *overrides, *shared]
        if (code := command_line.run(hydra_main)) > FAILED:
            return code
    return 0


if __name__ == "__main__":
    conclude(lambda: main(sys.argv[1:]))
