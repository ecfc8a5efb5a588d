"""Commands of the repository, run without a process and an import of torch for each."""

import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class CommandOutput:
    """The output of a command.

    Arguments:
        code: Its exit code.
        stdout, stderr: The text that it printed.
    """

    code: int
    stdout: str
    stderr: str


def prepare_process() -> None:
    """Set a worker process up as a user's shell with one thread, before torch is imported."""
    os.chdir(ROOT)
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def run_script(script: str, *arguments: str) -> CommandOutput:
    """Return the output of ``python <script> <arguments>``, run in this process."""
    stdout, stderr = StringIO(), StringIO()
    sys.argv = [script, *arguments]
    code = 0
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as exit:
            code = int(exit.code or 0)
    return CommandOutput(code, stdout.getvalue(), stderr.getvalue())
