"""One run, from its configuration to its records."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fpinv.errors import UserError
from fpinv.run import terminal
from fpinv.run.build import build
from fpinv.run.folder import RunFolder, holds_run, is_interval, read_json, write
from fpinv.run.messages import Mendable, explain
from fpinv.run.processes import Elsewhere, ranks
from fpinv.run.resume import is_same, resumed, save_config
from fpinv.run.tracking import Identity, Tracker, track
from fpinv.run.versions import repository_commit, versions
from fpinv.tasks.task import Grouping, Pooling, Settings, whole_number

if TYPE_CHECKING:
    from fpinv.datasets.example import Dataset, Example
    from fpinv.inversion import Inverter
    from fpinv.models.model import Model
    from fpinv.tasks.record import Record
    from fpinv.tasks.task import Task

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
SCIENCE = ("model", "dataset", "inverter", "adjustment", "task")  # what an inversion depends on
SWEEP_ID = "WANDB_SWEEP_ID"  # what W&B's agent sets for its runs
NAMED_FAILURES = 5  # so many failed examples are named on the terminal; metrics.jsonl has all


@dataclass(frozen=True)
class Job:
    """What is to be run, and where.

    Arguments:
        config: The configuration.
        choices: The option of each configuration group.
        folder: The run folder.
        label: The job's number and overrides within its sweep; empty for a run of its own.
    """

    config: DictConfig
    choices: Mapping[str, str | None]
    folder: Path
    label: str = ""

    @property
    def group(self) -> str | None:
        """The experiment, or else the sweep (Hydra's or W&B's), that the run is part of."""
        sweep = self.folder.parent
        name = sweep.name if (sweep / "multirun.yaml").exists() else os.environ.get(SWEEP_ID)
        return self.choices.get("experiment") or name


@dataclass(frozen=True)
class Parts:
    """The objects that the configuration stands for."""

    settings: Settings
    dataset: Dataset
    inverter: Inverter
    task: Task
    model: Model


def run_job(config: DictConfig) -> int:
    """Runs one Hydra job; returns its exit code, which ``status.json`` holds too.

    0: all examples done; 1: finished with failed examples, or crashed; 2: a user error.
    """
    hydra = HydraConfig.get()
    folder, label = Path(hydra.runtime.output_dir), _label(hydra)
    try:
        job = ranks().first(lambda: _job(config, hydra, folder, label))
    except UserError as error:
        return _refuse(error, folder, label)
    try:
        code, message = execute(job), None
    except KeyboardInterrupt:
        _say_interrupted(job.folder)
        _keep_status(job.folder, INTERRUPTED, "interrupted")
        raise
    except Exception as error:
        code, message = _report(error, job.folder, label)
    _keep_status(job.folder, code, message)
    return code


def _refuse(error: UserError, folder: Path, label: str) -> int:
    """Leaves the folder of another run as it is, unless a sweep is to read the exit code there."""
    code, message = _report(error, folder, label)
    if label:
        _keep_status(folder, code, message)
    return code


def _label(hydra: DictConfig) -> str:
    if hydra.mode.name != "MULTIRUN":
        return ""
    return f"job {hydra.job.num} ({', '.join(hydra.overrides.task)})"


def _job(config: DictConfig, hydra: DictConfig, folder: Path, label: str) -> Job:
    if config.resume is not None:
        return Job(*resumed(config, hydra, folder), folder)
    # a job of a sweep goes on: a cluster may stop it and start it again, and so may the user
    if holds_run(folder) and not (label and is_same(config, folder)):
        raise UserError(
            f"{folder} holds a run already: continue it with resume={folder}, or choose another "
            "folder with hydra.run.dir (for a sweep hydra.sweep.dir)"
        )
    return Job(config, hydra.runtime.choices, folder, label)


def _report(error: Exception, folder: Path, label: str) -> tuple[int, str]:
    """Says what went wrong in one line; what the user cannot mend leaves a traceback."""
    line = explain(error)
    if not isinstance(error, UserError):
        if not isinstance(error, Elsewhere):
            write(folder / "error.log", "".join(traceback.format_exception(error)))
        line += f" (traceback in {folder / 'error.log'})"
    if terminal.speaks():
        print(f"error: {label}: {line}" if label else f"error: {line}", file=sys.stderr)
    return MISUSED if isinstance(error, Mendable) else FAILED, line


def _keep_status(folder: Path, code: int, message: str | None) -> None:
    if ranks().leads:
        status = {"exit_code": code, "message": message, "said": terminal.speaks()}
        write(folder / "status.json", json.dumps(status, ensure_ascii=False) + "\n")


def execute(job: Job) -> int:
    """Runs a job to its end; returns 1 if examples failed, else 0."""
    limit, tracking = _limit(job.config), build(job.config, "tracking")
    if not ranks().leads:
        tracking = replace(tracking, mode="disabled")
    with _quiet(job.folder):
        parts = ranks().each(lambda: _build(job.config))
        total = min(len(parts.dataset), limit or len(parts.dataset))
        if not total:
            raise UserError(f"dataset={job.choices['dataset']} has no examples")
        folder = ranks().first(lambda: _open(job))
        folder.rank = ranks().rank
        with track(tracking, _identity(job), job.folder) as tracker:
            summary = _work(job, parts, folder, tracker, total)
            if ranks().leads:
                tracker.finish(summary, _plain(job.config), folder)
    if terminal.speaks():
        _show(job, folder, summary)
    return FAILED if folder.failed else 0


def _open(job: Job) -> RunFolder:
    save_config(job.config, job.choices, job.folder)
    return RunFolder(job.folder)


def _limit(config: DictConfig) -> int | None:
    if config.images is not None:
        whole_number("images", config.images, at_least=0)
    if config.limit is not None:
        whole_number("limit", config.limit, at_least=1)
    return config.limit


def _plain(config: DictConfig) -> dict[str, Any]:
    """The same, resolved, as Python's own containers."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _build(config: DictConfig) -> Parts:
    """Builds what is quick to refuse first, and the model last."""
    settings = Settings(**{key.name: config[key.name] for key in fields(Settings)})
    dataset, inverter = build(config, "dataset"), build(config, "inverter")
    task = build(config, "task")
    if isinstance(task, Grouping):
        dataset = task.group(dataset, settings.seed)
    _seed(settings.seed)
    return Parts(settings, dataset, inverter, task, build(config, "model"))


def _seed(seed: int) -> None:
    """Seeds every generator, in the job: the jobs of a sweep may share a process."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _work(
    job: Job, parts: Parts, folder: RunFolder, tracker: Tracker, total: int
) -> dict[str, Any]:
    """Does the examples that are not done yet; returns the summary, written however it ends."""
    header, earlier = _header(job, parts), len(folder.rows)
    for index, row in enumerate(folder.rows):
        tracker.example(index, row)
    try:
        ranks().each(lambda: _measure(job, parts, folder, tracker, header, total))
    finally:
        summary = {}
        if ranks().leads:
            _merge(parts.dataset, folder, tracker, total, earlier)
            pooled = parts.task.pool(folder.arrays()) if isinstance(parts.task, Pooling) else {}
            summary = folder.summarise(header, total, parts.task.metrics, pooled)
    return summary


def _merge(
    dataset: Dataset, folder: RunFolder, tracker: Tracker, total: int, earlier: int
) -> None:
    """Makes the lines what one process would have written, had it never been stopped."""
    known = len(folder.rows)
    for index, row in enumerate(folder.merge()):
        tracker.example(known + index, row)
    if earlier or ranks().size > 1:
        folder.arrange(_ids(dataset, total))


def _measure(
    job: Job,
    parts: Parts,
    folder: RunFolder,
    tracker: Tracker,
    header: Mapping[str, Any],
    total: int,
) -> None:
    """Does this process's share of the examples, as far as they are not done yet."""
    share, config = ranks().share(total), _plain(job.config)
    pictured = set(_ids(parts.dataset, total if job.config.images is None else job.config.images))
    made_with = {**header, "config": {key: config[key] for key in SCIENCE}}
    examples = _unfinished(parts.dataset, share, folder.finished)
    done = folder.rows[:: ranks().size]
    with terminal.progress_bar(job.label or _name(job), len(share), done) as bar:
        for record in parts.task(parts.model, parts.inverter, examples, parts.settings):
            row = folder.append(_kept(record, job, pictured), made_with)
            tracker.example(len(folder.rows) - 1, row)
            bar.advance(record.metrics)


def _kept(record: Record, job: Job, pictured: set[str]) -> Record:
    """The record without what the configuration does not ask to keep."""
    return replace(
        record,
        images=record.images if record.id in pictured else {},
        inversion=record.inversion if job.config.inversions else None,
    )


def _ids(dataset: Dataset, count: int) -> list[str]:
    return [dataset[k].id for k in range(min(count, len(dataset)))]


def _unfinished(dataset: Dataset, share: range, finished: set[str]) -> Iterator[Example]:
    examples = (dataset[k] for k in share)
    return (example for example in examples if example.id not in finished)


def _header(job: Job, parts: Parts) -> dict[str, Any]:
    """What was run, with what."""
    groups = {key: job.choices.get(key) for key in ("dataset", "inverter", "adjustment", "task")}
    model = {"model": parts.model.name, "model_commit": parts.model.commit}
    machine = {"precision": job.config.precision, "device": str(parts.model.device)}
    made_with = {"versions": versions(), "commit": repository_commit()}
    return model | groups | vars(parts.settings) | machine | made_with


def _name(job: Job) -> str:
    return "{task}: {inverter} on {dataset}, {model}".format(**job.choices)


def _identity(job: Job) -> Identity:
    config, choices = _plain(job.config), job.choices
    tags = [str(choices[key]) for key in ("model", "dataset", "inverter")]
    name = "/".join([str(choices["task"]), *tags[::-1], f"seed{config['seed']}"])
    return Identity(name, job.group, str(choices["task"]), list(dict.fromkeys(tags)), config)


def _show(job: Job, folder: RunFolder, summary: Mapping[str, Any]) -> None:
    """The table, unless a sweep will show one over its jobs, the failures and the folder."""
    if not job.label:
        pooled = [name for name, value in summary.items() if is_interval(value)]
        means = {name: summary[name] for name in dict.fromkeys([*folder.metric_names, *pooled])}
        terminal.show(terminal.run_table(f"{_name(job)} (n = {summary['n']})", means))
    _say_failed(folder, summary["total"])
    print(job.folder)


def _say_failed(folder: RunFolder, total: int) -> None:
    if not (failed := folder.failed):
        return
    names = "; ".join(f"{row['id']} ({row['error']})" for row in failed[:NAMED_FAILURES])
    more = f"; and {len(failed) - NAMED_FAILURES} more" if len(failed) > NAMED_FAILURES else ""
    print(f"error: {len(failed)} of {total} examples failed: {names}{more}", file=sys.stderr)


def _say_interrupted(folder: Path) -> None:
    """How to go on, where an example was begun."""
    if terminal.speaks() and (folder / "summary.json").exists():
        summary = read_json(folder / "summary.json")
        print(
            f"interrupted: {summary['n']} of {summary['total']} examples are kept; to go on: "
            f"python run.py resume={folder}",
            file=sys.stderr,
        )


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Keeps warnings and log messages off the terminal and in the run folder's run.log."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "run.log", delay=True, encoding="utf-8")
    handler.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.captureWarnings(False)
        handler.close()
