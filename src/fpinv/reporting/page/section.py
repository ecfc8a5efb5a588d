"""The section of a report on one experiment, gathered from its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpinv.errors import UserError
from fpinv.metrics.glossary import with_unit
from fpinv.reporting.experiment import (
    JOBS,
    TEXT,
    Experiment,
    Job,
    Results,
    folder_of,
    load,
    read_saved,
)
from fpinv.reporting.page.gallery import Gallery, galleries
from fpinv.reporting.tables import markdown
from fpinv.run.folder import is_interval
from fpinv.run.job_result import varied
from fpinv.run.terminal import short

PAPER = "paper.md"
"""File in an experiment's folder: the paper's numbers, with the data they were measured on."""
SENTENCES = re.compile(r".*[.:](?=\s|$)", re.DOTALL)
"""The whole sentences of a paragraph: a sentence that goes on in a code block is left out."""
MADE_WITH = (
    *("model", "model_path", "model_commit", "model_digest", "scheduler", "spacing", "sampler"),
    *(
        "dataset",
        "task",
        "adjustment",
        "steps",
        "guidance",
        "n",
        "seed",
        "batch_size",
        "precision",
        "device",
    ),
    "commit",
)
"""Entries of a summary that say what was measured."""
NAMED = ("task", "inverter", "dataset", "model")
"""Groups that the title of a section names by their options."""


@dataclass(frozen=True)
class Section:
    """The section on one experiment.

    Arguments:
        name: Name of the experiment's folder, which anchors the section.
        title, about: Heading and beginning of its README; of other runs, what was run.
        text: Its results.md.
        paper: The paper's numbers in Markdown; None where the paper has none.
        results: The folder of results.md and its pictures.
        jobs: The jobs behind the results.
        galleries: Pictures of the runs, where these are at hand.
    """

    name: str
    title: str
    about: str
    text: str
    paper: str | None
    results: Path
    jobs: Sequence[Job]
    galleries: Sequence[Gallery]

    @property
    def keys(self) -> list[str]:
        """Return the overrides in which the jobs differ."""
        return varied([job.overrides for job in self.jobs])

    @property
    def metrics(self) -> list[str]:
        """Return the metrics that the jobs measured."""
        values = (item for job in self.jobs for item in job.summary.items())
        return [name for name, value in values if is_interval(value)]

    @property
    def facts(self) -> Mapping[str, str]:
        """Return all values that the jobs had of each setting and version."""
        per_job = [_facts(job.summary) for job in self.jobs]
        keys = dict.fromkeys(key for facts in per_job for key in facts)
        return {
            key: ", ".join(dict.fromkeys(facts.get(key, "-") for facts in per_job)) for key in keys
        }


def title_of(jobs: Sequence[Job]) -> str:
    """Return what jobs without an experiment were: task, inverters, data and what they vary."""
    task, inverters, datasets, models = (
        ", ".join(dict.fromkeys(str(job.summary.get(key)) for job in jobs)) for key in NAMED
    )
    varieties = [key for key in varied([job.overrides for job in jobs]) if key not in NAMED]
    more = f"; by {', '.join(varieties)}" if varieties else ""
    return (
        f"{task.replace('_', ' ').capitalize()}: {inverters} on {datasets}, model {models}{more}"
    )


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    facts = {key: summary.get(key) for key in MADE_WITH} | dict(summary.get("versions", {}))
    return {key: f"{value}" for key, value in facts.items() if value is not None}


def collect(folder: Path, experiments: Path) -> Section:
    """Return the section on a folder of results, or on one of runs, whose results it makes.

    Arguments:
        folder: A folder with a results.md, or with sweeps in it.
        experiments: The folder of all experiments.

    Raises:
        UserError: The folder is neither, or its runs are of several experiments.
    """
    if (folder / TEXT).is_file():
        jobs = read_saved(folder)
        name, results, pictures = folder.resolve().parent.name, folder, []
        if not folder_of(experiments, name).is_dir() and jobs:
            name = _experiment(jobs, folder) or name
    else:
        jobs = Experiment(overview).read(folder)
        name = _experiment(jobs, folder) or folder.resolve().name
        results, pictures = _results(folder, folder_of(experiments, name)), galleries(folder)
    title, about = _introduction(folder_of(experiments, name) / "README.md", jobs, name)
    paper = folder_of(experiments, name) / PAPER
    numbers = paper.read_text(encoding="utf-8") if paper.is_file() else None
    text = (results / TEXT).read_text(encoding="utf-8")
    return Section(name, title, about, text, numbers, results, jobs, pictures)


def _experiment(jobs: Sequence[Job], folder: Path) -> str | None:
    """Return the experiment that the jobs were run as; None where they were run as none."""
    names = {job.overrides.get("experiment") for job in jobs}
    if len(names) > 1:
        several = ", ".join(sorted(filter(None, names)))
        raise UserError(f"{folder} holds several experiments ({several}): name the folder of each")
    return names.pop()


def _results(folder: Path, experiment: Path) -> Path:
    """Return the folder of the results of runs, which their script or an overview fills.

    Results that lie there already and were not made of jobs are left alone.
    """
    results = folder / "results"
    script = load(experiment)
    by_hand = (results / TEXT).is_file() and not (results / JOBS).is_file()
    if script is not None or not by_hand:
        (script or Experiment(overview)).run(folder, results)
    return results


def overview(jobs: Sequence[Job]) -> Results:
    """Return the results of jobs without a script: inverter, settings that vary, n, metrics."""
    keys = [k for k in varied([job.overrides for job in jobs]) if k != "inverter"]
    means = {k: v for job in jobs for k, v in job.summary.items() if is_interval(v)}
    metrics = short(means)
    rows = [
        [
            job.summary["inverter"],
            *(job.overrides.get(key, "") for key in keys),
            f"{job.summary['n']}",
            *(with_unit(name, job.summary.get(name)) for name in metrics),
        ]
        for job in jobs
    ]
    return Results(markdown(["inverter", *keys, "n", *metrics], rows, words=1 + len(keys)))


def _introduction(readme: Path, jobs: Sequence[Job], name: str) -> tuple[str, str]:
    """Return the heading of a README, and its command with the first paragraph about it.

    Without a README the heading says what was run, or is the name where nothing is known of it.
    """
    if not readme.is_file():
        return title_of(jobs) if jobs else name, ""
    heading, *paragraphs = readme.read_text(encoding="utf-8").split("\n\n")
    prose = next((k for k, text in enumerate(paragraphs) if text[0].isalpha()), len(paragraphs))
    about = "\n\n".join(paragraphs[: prose + 1])
    return heading.lstrip("# "), sentences[0] if (sentences := SENTENCES.match(about)) else about
