"""The records of the jobs of a sweep, and of runs of their own, as their folders hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpinv.run.files import read_json
from fpinv.run.layout import Origin, job_folders, read_origin
from fpinv.run.status import FAILED, STATUS_FILE


@dataclass(frozen=True)
class JobResult:
    """The records of a job.

    Arguments:
        origin: Its number in the sweep, and the overrides that it was run with.
        exit_code: See :func:`fpinv.run.job.run_job`; 1 for a job that was killed.
        summary: Its summary.json; empty where it has none.
        folder: Its run folder.
        failure: The reason why it failed, where the terminal does not show that yet.
    """

    origin: Origin
    exit_code: int
    summary: Mapping[str, Any]
    folder: Path
    failure: str | None = None

    @property
    def overrides(self) -> Mapping[str, str]:
        """The overrides that the job was run with."""
        return self.origin.overrides

    @property
    def number(self) -> int:
        """The job's number in its sweep; 0 for a run of its own."""
        return self.origin.number or 0

    @property
    def name(self) -> str:
        """The job's number in its sweep; of a run of its own the name of its folder."""
        number = self.origin.number
        return self.folder.resolve().name if number is None else str(number)


def read_jobs(folder: Path) -> list[JobResult]:
    """Return the jobs below a folder, by number.

    Raises:
        UserError: files of a job cannot be read.
    """
    return sorted(map(_read_job, job_folders(folder)), key=lambda job: job.number)


def _read_job(folder: Path) -> JobResult:
    status, summary = _read(folder / STATUS_FILE), _read(folder / "summary.json")
    code = status.get("exit_code", FAILED)
    failure = _failure(status, summary) if code else None
    return JobResult(read_origin(folder), code, summary, folder, failure)


def _failure(status: Mapping[str, Any], summary: Mapping[str, Any]) -> str | None:
    """Return why a job failed, where it ran in another process and could not print that."""
    if not status:
        return "it was stopped before its end"
    if status["said"]:
        return None
    return status["message"] or f"{summary['failed']} of {summary['total']} examples failed"


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def varied(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys in which the overrides of jobs differ, in order."""
    keys = dict.fromkeys(key for overrides in settings for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in settings}) > 1]
