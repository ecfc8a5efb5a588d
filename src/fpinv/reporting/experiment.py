"""The results of an experiment: tables and pictures, with the jobs that they are made of.

A script ``experiments/<room>/<name>/table.py`` or ``plot.py`` is one function from jobs to
:class:`Results`, run by :meth:`Experiment.main` as ``<script> FOLDER [RESULTS] [--with FOLDER]``.
A FOLDER holds sweeps, or the ``jobs.json`` of an earlier call, which gives the same text again.
RESULTS gets:

=================  ================================================================
``results.md``     the tables in Markdown, without a heading over them; printed, too
pictures           PNG or JPEG, under 300 KB each; figures also in dark, ``<name>.dark.png``
``jobs.json``      name, overrides, settings and summary of each job, a line a job
``examples.json``  values of single examples, where the tables need some
=================  ================================================================
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image

from fpinv.errors import UserError, command
from fpinv.reporting.figures import Drawing, as_picture, dark_name
from fpinv.run.files import replacing, write
from fpinv.run.folder import read_rows
from fpinv.run.job_result import JobResult, read_jobs
from fpinv.run.stored_config import load_config
from fpinv.tasks.record import map_floats

TEXT, JOBS, EXAMPLES = "results.md", "jobs.json", "examples.json"
SCRIPTS = ("table.py", "plot.py")
SETTINGS = (
    *("task", "model", "spacing", "sampler", "precision", "dataset", "crop", "inverter"),
    *("adjustment", "noised_steps", "steps", "guidance", "seed"),
)
"""Entries of a summary that results depend on."""
LARGEST = 300_000  # bytes of a picture at most
DIGITS = 8  # significant digits of numbers in jobs.json
FOLDERS = re.compile(r"[^\s,=\[\]]*/")  # the folders of a path, in a value
Selection = Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Job:
    """A finished job, from its run's folder or as jobs.json keeps it.

    Arguments:
        name: The job's folder below that of the sweeps.
        overrides: The job's overrides, of a path the last name only.
        summary: The job's summary.json.
        settings: The settings that the experiment selects, by key; of a path the last name only.
        examples: The values that it selects of each finished example.
        folder: The folder of the records; None where they are not at hand.
    """

    name: str
    overrides: Mapping[str, str]
    summary: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Results:
    """The results of jobs.

    Arguments:
        text: Markdown, which shows pictures by their file names.
        pictures: The pictures that can be drawn of the records at hand, by file name. A drawing
            gets a dark variant beside it.
    """

    text: str
    pictures: Mapping[str, Image.Image | Drawing] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """The function that makes the results of finished jobs, and the records that it takes.

    Arguments:
        make: Makes the results of the jobs.
        settings: Keys of the configuration (``task.images``) and groups (``task/path``).
        examples: Names of metrics, series and texts of single examples, or a function that makes
            the values from all of an example's line.
        apart: The :data:`SETTINGS` in which jobs may differ, since the results tell their values
            apart; None for all.
    """

    make: Callable[[Sequence[Job]], Results]
    settings: Sequence[str] = ()
    examples: Selection = ()
    apart: Sequence[str] | None = None

    @command
    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Read the command line, and make and print the results."""
        parser = argparse.ArgumentParser(description="Makes the results of finished runs.")
        parser.add_argument("folder", type=Path, help="folder of sweeps, or with a jobs.json")
        parser.add_argument("results", type=Path, nargs="?", help="FOLDER/results if absent")
        parser.add_argument(
            "--with",
            dest="more",
            type=Path,
            action="append",
            default=[],
            metavar="FOLDER",
            help="another such folder, e.g. of further seeds or of earlier results: their jobs "
            "count together (may be repeated)",
        )
        options = parser.parse_args(arguments)
        print(self.run(options.folder, options.results, options.more).text)

    def run(self, folder: Path, results: Path | None = None, more: Sequence[Path] = ()) -> Results:
        """Make the results of a folder and write them.

        Arguments:
            folder: A folder of sweeps, or with a jobs.json.
            results: The folder to write to; None for ``folder/results``, or that of the jobs.json.
            more: Further such folders, whose jobs come after those of the first.

        Raises:
            UserError: No job of a folder is finished, two jobs have one name, they differ in what
                the results do not tell apart, or the results cannot be made of those that are
                finished.
        """
        jobs = self._together([folder, *more])
        if not jobs:
            raise UserError(f"{folder}: holds no jobs")
        self._require_alike(jobs, folder)
        try:
            outcome = self.make(jobs)
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            raise UserError(
                f"{folder}: these results cannot be made of the runs there: they are those of "
                f"another experiment, or not all are finished ({type(error).__name__}: {error})"
            ) from error
        save(outcome, jobs, results or (folder if _is_saved(folder) else folder / "results"))
        return outcome

    def _require_alike(self, jobs: Sequence[Job], folder: Path) -> None:
        """Refuse jobs that differ in a setting which the results do not tell apart."""
        if self.apart is None:
            return
        for key in (key for key in SETTINGS if key not in self.apart):
            values = dict.fromkeys(job.summary.get(key) for job in jobs)
            if len(values) > 1:
                several = " and ".join(map(str, values))
                raise UserError(
                    f"{folder}: its runs differ in {key} ({several}), which these results do not "
                    "tell apart: name a folder for each"
                )

    def _together(self, folders: Sequence[Path]) -> list[Job]:
        """Return the jobs of all folders, each name once."""
        jobs: dict[str, Job] = {}
        for folder in folders:
            for job in read_saved(folder) if _is_saved(folder) else self.read(folder):
                if job.name in jobs:
                    raise UserError(
                        f"{folder}: a job is named {job.name} there and in another folder: give "
                        "each sweep a folder of its own (hydra.sweep.dir=outputs/<name>/<sweep>), "
                        "and name the folder that holds them (outputs/<name>)"
                    )
                jobs[job.name] = job
        return list(jobs.values())

    def read(self, folder: Path) -> list[Job]:
        """Return the finished jobs of the sweeps in a folder, sweep by sweep; name the rest.

        Raises:
            UserError: No job is finished.
        """
        jobs = in_order(folder)
        finished = [name for name, job in jobs.items() if job.summary.get("n")]
        if not finished:
            raise UserError(f"{folder} holds no finished runs")
        if unfinished := [name for name in jobs if name not in finished]:
            print(f"left out, for nothing is finished: {', '.join(unfinished)}", file=sys.stderr)
        return [self._job(name, jobs[name]) for name in finished]

    def _job(self, name: str, job: JobResult) -> Job:
        overrides = _without_folders(job.overrides)
        settings = dict(_settings(job.folder, self.settings)) if self.settings else {}
        settings = _without_folders(settings)
        examples = list(_examples(job.folder, self.examples)) if self.examples else []
        return Job(name, overrides, rounded(job.summary), settings, rounded(examples), job.folder)


def _is_saved(folder: Path) -> bool:
    return (folder / JOBS).is_file()


def folder_of(experiments: Path, name: str) -> Path:
    """Return the folder of an experiment, which lies in one of the rooms of ``experiments``."""
    folders = sorted(path for path in experiments.glob(f"*/{name}") if path.is_dir())
    return folders[0] if folders else experiments / name


def load(folder: Path) -> Experiment | None:
    """Return the experiment of the script in a folder of experiments/; None without a script."""
    for script in (folder / name for name in SCRIPTS):
        if script.is_file():
            name = f"experiments.{folder.name}.{script.stem}"
            spec = importlib.util.spec_from_file_location(name, script)
            assert spec is not None and spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return getattr(module, "experiment", None)
    return None


def in_order(folder: Path) -> dict[str, JobResult]:
    """Return the jobs of a folder by name: sweep by sweep, in the order of their numbers."""
    jobs = read_jobs(folder)
    begun: dict[Path, int] = {}  # number of the earliest job, by sweep
    for job in jobs:
        begun.setdefault(job.folder.parent, job.number)
    jobs.sort(key=lambda job: (begun[job.folder.parent], job.folder.parent, job.number))
    return {_name(job, folder): job for job in jobs}


def _name(job: JobResult, folder: Path) -> str:
    """Return a job's folder as seen from the folder of sweeps; its own name where that is one."""
    name = Path(os.path.relpath(job.folder, folder)).as_posix()
    return job.name if name == "." else name


def _without_folders(value: Any) -> Any:  # noqa: ANN401
    """Return a value of a configuration with the last name alone of every path in it."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def _settings(folder: Path, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    stored = load_config(folder)
    for key in keys:
        value = stored.choices.get(key) if "/" in key else OmegaConf.select(stored.config, key)
        yield key, OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _examples(folder: Path, selection: Selection) -> Iterator[dict[str, Any]]:
    for row in read_rows(folder):
        if row["error"] is None:
            line = row | row["series"] | row.get("texts", {})
            if callable(selection):
                values = selection(line)
            else:
                values = {name: line[name] for name in selection if name in line}
            yield {"id": row["id"], **values}


def blocks(text: str) -> list[str]:
    """Return a results.md in blocks: a line of words, and tables, lists and pictures after it."""
    groups: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if groups and paragraph.startswith(("|", "- ", "![")):
            groups[-1] += f"\n\n{paragraph}"
        else:
            groups.append(paragraph)
    return groups


def rounded(value: Any) -> Any:  # noqa: ANN401
    """Return a value with eight significant digits, which suffice to make results.md again."""
    return map_floats(value, lambda number: float(f"{number:.{DIGITS}g}"))


def read_saved(folder: Path) -> list[Job]:
    """Return the jobs of a folder's jobs.json; none where there is no such file.

    Raises:
        UserError: A file cannot be read, or has another form.
    """
    if not _is_saved(folder):
        return []
    try:
        jobs = _read(folder / JOBS)
        examples = _read(folder / EXAMPLES) if (folder / EXAMPLES).exists() else {}
        return [Job(**job, examples=examples.get(job["name"], ())) for job in jobs]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{folder / JOBS}: cannot be read ({error})") from None


def _read(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))


def save(results: Results, jobs: Sequence[Job], folder: Path) -> None:
    """Write results and jobs into a folder.

    Raises:
        UserError: A picture does not get small enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in _files(results.pictures):
        with replacing(folder / name) as partial:
            partial.write_bytes(encoded(picture, name))
    lines = [json.dumps(_entry(job), ensure_ascii=False) for job in jobs]
    write(folder / JOBS, "[\n" + ",\n".join(lines) + "\n]\n")
    if any(job.examples for job in jobs):
        lines = [f"{json.dumps(job.name)}: {json.dumps(job.examples)}" for job in jobs]
        write(folder / EXAMPLES, "{\n" + ",\n".join(lines) + "\n}\n")
    write(folder / TEXT, results.text.strip() + "\n")


def _files(pictures: Mapping[str, Image.Image | Drawing]) -> Iterator[tuple[str, Image.Image]]:
    """Yield the name and the picture of each file; a drawing makes two, light and dark."""
    for name, picture in pictures.items():
        if isinstance(picture, Image.Image):
            yield name, picture
        else:
            yield name, as_picture(picture)
            yield dark_name(name), as_picture(picture, dark=True)


def _entry(job: Job) -> dict[str, Any]:
    settings = {"settings": job.settings} if job.settings else {}
    return {"name": job.name, "overrides": job.overrides} | settings | {"summary": job.summary}


def encoded(picture: Image.Image, name: str) -> bytes:
    """Return a picture as the bytes of a PNG or JPEG file, as good as its size allows.

    Raises:
        UserError: No quality gets it under 300 KB.
    """
    colours = picture.convert("RGB")
    trials: list[tuple[Image.Image, dict[str, Any]]]
    if name.endswith(".png"):
        trials = [(picture, {"format": "PNG"}), (colours.quantize(), {"format": "PNG"})]
    else:
        trials = [(colours, {"format": "JPEG", "quality": q}) for q in (92, 85, 75, 60)]
    for version, options in trials:
        version.save(file := io.BytesIO(), optimize=True, **options)
        if len(data := file.getvalue()) < LARGEST:
            return data
    raise UserError(f"{name} does not get smaller than {LARGEST // 1000} KB: show less in it")
