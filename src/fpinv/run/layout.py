"""The place of a run among the jobs of a sweep: ``job.json`` in its folder, ``sweep.json`` above.

The folder of a sweep may hold jobs of earlier ones. Its own are those that ``sweep.json`` lists,
which every start of the sweep writes before its first job begins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import OmegaConf

from fpinv.errors import UserError
from fpinv.run.files import read_json, write

JOB_FILE, JOBS_FILE = "job.json", "sweep.json"
SWEEP_FILE = "multirun.yaml"  # Hydra's, with the settings of a sweep


@dataclass(frozen=True)
class Origin:
    """The command that began a run.

    Arguments:
        number: The job's number in its sweep; None for a run of its own.
        sweep: Name of the sweep's folder; None for a run of its own.
        overrides: The overrides that it was run with.
    """

    number: int | None = None
    sweep: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The number and the overrides of a sweep's job; nothing for a run of its own."""
        if self.number is None:
            return ""
        overrides = ", ".join(f"{k}={v}" if v else k for k, v in self.overrides.items())
        return f"job {self.number} ({overrides})"


def origin_of(hydra: HydraConf) -> Origin:
    """Return the origin of the job that Hydra is at."""
    written: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    overrides = by_key(written)
    if hydra.mode != RunMode.MULTIRUN:
        return Origin(overrides=overrides)
    sweep = Path(hydra.runtime.cwd, hydra.sweep.dir).resolve()
    return Origin(hydra.job.num, sweep.name, overrides)


def by_key(overrides: Iterable[str]) -> dict[str, str]:
    """Return the value of each override, such as ``guidance=3``; empty where it has none."""
    lines = (line.lstrip("+").partition("=") for line in overrides)
    return {key: value for key, _, value in lines}


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the job.json of a run folder."""
    _write(folder / JOB_FILE, asdict(origin))


def read_origin(folder: Path) -> Origin:
    """Return the origin of the run in a folder, as far as the folder says it.

    Raises:
        UserError: its job.json cannot be read.
    """
    file = folder / JOB_FILE
    if not file.exists():
        return Origin()
    try:
        return Origin(**read_json(file))
    except TypeError:
        raise UserError(f"{file}: its keys are not those of a job: remove it") from None


def list_jobs(sweep: Path, folders: Sequence[Path]) -> None:
    """Write the sweep.json of a sweep with the folders of all its jobs."""
    _write(sweep / JOBS_FILE, {"jobs": [os.path.relpath(folder, sweep) for folder in folders]})


def job_folders(folder: Path) -> list[Path]:
    """Return the folders of the runs below a folder: of its sweeps, those of their own jobs.

    Raises:
        UserError: a sweep.json cannot be read.
    """
    sweeps = [path.parent for path in folder.glob(f"**/{JOBS_FILE}")]
    listed = [sweep / name for sweep in sweeps for name in _listed(sweep)]
    others = [path.parent for path in folder.glob(f"**/{JOB_FILE}")]
    alone = [path for path in others if not any(map(path.is_relative_to, sweeps))]
    distinct = dict.fromkeys(Path(os.path.normpath(path)) for path in [*listed, *alone])
    return [path for path in distinct if (path / JOB_FILE).exists()]


def _listed(sweep: Path) -> list[str]:
    names = read_json(sweep / JOBS_FILE).get("jobs")
    if not isinstance(names, list):
        raise UserError(f"{sweep / JOBS_FILE}: it lists no jobs: remove it")
    return [str(name) for name in names]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write(path, json.dumps(content, ensure_ascii=False) + "\n")
