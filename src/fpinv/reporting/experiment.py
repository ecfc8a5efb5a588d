"""What an experiment leaves behind: tables and pictures, with the jobs that they were made of.

A script ``experiments/<name>/table.py`` or ``plot.py`` is one function from jobs to
:class:`Results`, run by :meth:`Experiment.main` as ``<script> FOLDER [RESULTS]``. FOLDER holds
sweeps, or the ``jobs.json`` of an earlier call, from which the same text is made again.

===============  ==================================================================
``results.md``   the tables in Markdown, without a heading over them; printed, too
pictures         PNG or JPEG, under 300 KB each
``jobs.json``    of each job its name, overrides, settings and summary, a line a job
``examples.json``  what the tables need of single examples, where they do
===============  ==================================================================
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from PIL import Image

from fpinv.errors import UserError
from fpinv.run.folder import read_rows, replacing, write
from fpinv.run.sweep import JobResult, read_jobs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT, JOBS, EXAMPLES = "results.md", "jobs.json", "examples.json"
SCRIPTS = ("table.py", "plot.py")
LARGEST = 300_000  # bytes of a picture
DIGITS = 8  # that numbers are kept with
DPI = 110
FOLDERS = re.compile(r"[^\s,=\[\]]*/")


@dataclass(frozen=True)
class Job:
    """A finished job, from its run's folder or as jobs.json keeps it.

    Arguments:
        name: Its folder below that of the sweeps.
        overrides: What it was run with; of a path, the last part.
        summary: Its summary.json.
        settings: The settings that the experiment asks for, by key.
        examples: What it asks for of the finished examples, a mapping each.
        folder: Where its records lie; None where they are not at hand.
    """

    name: str
    overrides: Mapping[str, str]
    summary: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Results:
    """What is made of the jobs.

    Arguments:
        text: Markdown, which shows pictures by their file names.
        pictures: By file name, those that could be drawn from what is at hand.
    """

    text: str
    pictures: Mapping[str, Image.Image | Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """How the results of finished jobs are made, and what of their records it takes.

    Arguments:
        make: From the jobs to the results.
        settings: Keys of the configuration (``task.images``) and groups (``task/path``).
        examples: Metrics, series and texts of single examples, or what makes such values of all
            that an example's line has.
    """

    make: Callable[[Sequence[Job]], Results]
    settings: Sequence[str] = ()
    examples: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, Any]] = ()

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """The command line; returns its exit code."""
        parser = argparse.ArgumentParser(description="Makes the results of finished runs.")
        parser.add_argument("folder", type=Path, help="of sweeps, or with a jobs.json")
        parser.add_argument("results", type=Path, nargs="?", help="FOLDER/results if absent")
        given = parser.parse_args(arguments)
        try:
            print(self.run(given.folder, given.results).text)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0

    def run(self, folder: Path, results: Path | None = None) -> Results:
        """Makes the results of a folder and writes them.

        Arguments:
            folder: Of sweeps, or with a jobs.json.
            results: Where to; None for ``folder/results``, or the place of the jobs.json.

        Raises:
            UserError: there is no finished job, or the results cannot be made of those there are.
        """
        kept = (folder / JOBS).is_file()
        jobs = read_kept(folder) if kept else self.read(folder)
        made = self.make(jobs)
        save(made, jobs, results or (folder if kept else folder / "results"))
        return made

    def read(self, folder: Path) -> list[Job]:
        """The finished jobs of the sweeps in a folder, sweep by sweep; says what is left out.

        Raises:
            UserError: there is none.
        """
        found = in_order(folder)
        finished = [name for name, job in found.items() if job.summary.get("n")]
        if not finished:
            raise UserError(f"{folder} holds no finished runs")
        if left_out := [name for name in found if name not in finished]:
            print(f"left out, for nothing is finished: {', '.join(left_out)}", file=sys.stderr)
        return [self._job(name, found[name]) for name in finished]

    def _job(self, name: str, job: JobResult) -> Job:
        overrides = {key: FOLDERS.sub("", value) for key, value in job.overrides.items()}
        settings = dict(_settings(job.folder, self.settings)) if self.settings else {}
        examples = list(_examples(job.folder, self.examples)) if self.examples else []
        return Job(name, overrides, rounded(job.summary), settings, rounded(examples), job.folder)


def folder_of(experiments: Path, name: str) -> Path:
    """Return the folder of an experiment, which lies in one of the rooms of ``experiments``."""
    folders = sorted(path for path in experiments.glob(f"*/{name}") if path.is_dir())
    return folders[0] if folders else experiments / name


def load(folder: Path) -> Experiment | None:
    """The experiment of the script in a folder of experiments/; None where there is none."""
    for script in (folder / name for name in SCRIPTS):
        if script.is_file():
            name = f"experiments.{folder.name}.{script.stem}"
            spec = importlib.util.spec_from_file_location(name, script)
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return getattr(module, "experiment", None)
    return None


def in_order(folder: Path) -> dict[str, JobResult]:
    """Return the jobs of a folder by name: sweep by sweep, in the order of their numbers."""
    jobs = {job.folder.relative_to(folder).as_posix(): job for job in read_jobs(folder)}
    begun: dict[str, int] = {}  # number of the earliest job, by sweep
    for name, job in jobs.items():
        begun.setdefault(name.rpartition("/")[0], job.number)

    def order(name: str) -> tuple[int, str, int]:
        sweep = name.rpartition("/")[0]
        return begun[sweep], sweep, jobs[name].number

    return {name: jobs[name] for name in sorted(jobs, key=order)}


def _settings(folder: Path, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    config = OmegaConf.load(folder / "config.yaml")
    for key in keys:
        value = config.choices.get(key) if "/" in key else OmegaConf.select(config, key)
        yield key, OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _examples(
    folder: Path, wanted: Sequence[str] | Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for row in read_rows(folder):
        if row["error"] is None:
            known = row | row["series"] | row.get("texts", {})
            names = [] if callable(wanted) else [name for name in wanted if name in known]
            found = wanted(known) if callable(wanted) else {name: known[name] for name in names}
            yield {"id": row["id"], **found}


def blocks(text: str) -> list[str]:
    """A results.md in blocks: a line of words, and the tables, lists and pictures after it."""
    found: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if found and paragraph.startswith(("|", "- ", "![")):
            found[-1] += f"\n\n{paragraph}"
        else:
            found.append(paragraph)
    return found


def rounded(value: Any) -> Any:  # noqa: ANN401
    """The same with eight significant digits, so that results.md needs no more than jobs.json."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def read_kept(folder: Path) -> list[Job]:
    """The jobs that a folder's jobs.json keeps.

    Raises:
        UserError: a file cannot be read, or is none of ours.
    """
    try:
        jobs = _read(folder / JOBS)
        examples = _read(folder / EXAMPLES) if (folder / EXAMPLES).exists() else {}
        return [Job(**job, examples=examples.get(job["name"], ())) for job in jobs]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / JOBS}: cannot be read ({error})") from None


def _read(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))


def save(results: Results, jobs: Sequence[Job], folder: Path) -> None:
    """Writes results and jobs into a folder.

    Raises:
        UserError: a picture does not get small enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in results.pictures.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(encoded(picture, name))
    lines = [json.dumps(_kept(job), ensure_ascii=False) for job in jobs]
    write(folder / JOBS, "[\n" + ",\n".join(lines) + "\n]\n")
    if any(job.examples for job in jobs):
        lines = [f"{json.dumps(job.name)}: {json.dumps(job.examples)}" for job in jobs]
        write(folder / EXAMPLES, "{\n" + ",\n".join(lines) + "\n}\n")
    write(folder / TEXT, results.text.strip() + "\n")


def _kept(job: Job) -> dict[str, Any]:
    settings = {"settings": job.settings} if job.settings else {}
    return {"name": job.name, "overrides": job.overrides} | settings | {"summary": job.summary}


def encoded(picture: Image.Image | Figure, name: str) -> bytes:
    """A picture as the bytes of a PNG or JPEG file, as good as its size allows.

    Raises:
        UserError: no quality gets it under 300 KB.
    """
    image = picture if isinstance(picture, Image.Image) else drawn(picture)
    for data in _pngs(image) if name.endswith(".png") else _jpegs(image):
        if len(data) < LARGEST:
            return data
    raise UserError(f"{name} does not get smaller than {LARGEST // 1000} KB: show less in it")


def drawn(figure: Figure) -> Image.Image:
    """A figure of matplotlib as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(file, format="png", dpi=DPI)
    return Image.open(file).convert("RGB")


def _pngs(image: Image.Image) -> Iterator[bytes]:
    yield _bytes(image, format="PNG", optimize=True)
    yield _bytes(image.convert("RGB").quantize(), format="PNG", optimize=True)


def _jpegs(image: Image.Image) -> Iterator[bytes]:
    for quality in (92, 85, 75, 60):
        yield _bytes(image.convert("RGB"), format="JPEG", quality=quality, optimize=True)


def _bytes(image: Image.Image, **options: Any) -> bytes:  # noqa: ANN401
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()
