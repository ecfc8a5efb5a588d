"""One run: its examples are measured, and its records are summarised."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from fpinv.batch import combine
from fpinv.datasets.digests import digesting
from fpinv.errors import UserError
from fpinv.images.viewing import MOST_PIXELS, limit_pixels
from fpinv.inverters.noised import require_start
from fpinv.run import terminal
from fpinv.run.build import build, resolved
from fpinv.run.folder import RunFolder, is_interval
from fpinv.run.layout import read_origin
from fpinv.run.outdated import find_outdated
from fpinv.run.preflight import read_settings, require_sampler
from fpinv.run.processes import ranks
from fpinv.run.provenance import made_with, note_provenance, require_same_weights
from fpinv.run.status import FAILED
from fpinv.run.stored_config import SCIENCE, Choices, load_config, save_config
from fpinv.run.tracking import Identity, Tracking, build_tracking, track
from fpinv.run.versions import repository_commit, versions
from fpinv.run.writing import at_once, in_order
from fpinv.tasks.domains import foreign_pictures, without_misfits
from fpinv.tasks.memory import within_memory
from fpinv.tasks.saved_inversions import entries_of
from fpinv.tasks.task import Choosy, Grouping, Pooling, weakness

if TYPE_CHECKING:
    from fpinv.datasets.example import Dataset
    from fpinv.inversion import Inverter
    from fpinv.models.model import Model
    from fpinv.tasks.record import Record
    from fpinv.tasks.task import Task

SLOW = "precision=fp16 is many times as slow as fp32 on a CPU: use precision=fp32 there"


@dataclass
class Run:
    """A run: :meth:`execute` sets it up, measures the examples and summarises the records.

    Arguments:
        config: The configuration.
        choices: The option of each configuration group.
        path: The run folder.
        label: The job's number and overrides within its sweep; empty for a run of its own.

    Attributes:
        tracking: The settings of W&B.
        settings: The numbers that every task needs.
        dataset: The examples of the task.
        inverter: The inverter.
        task: The task.
        model: The model.
        total: Number of examples that the run is about.
        folder: The records.
        header: The entries of the summary that say what was run, with what.
        made_with: Number of the entry of :mod:`fpinv.run.provenance` that says so of each line.
        resumed: Whether records of an earlier process were there at the start.
        tracker: The view of the records in W&B.
    """

    config: DictConfig
    choices: Choices
    path: Path
    label: str = ""

    def execute(self) -> int:
        """Do all of the run; return 1 if examples failed, else 0."""
        with terminal.quiet(self.path / "run.log"):
            self.set_up()
            with track(self.tracking, self.identity(), self.path) as self.tracker:
                try:
                    ranks().each(self.measure)
                finally:
                    summary = self.summarise()
                if ranks().leads:
                    self.tracker.finish(summary, resolved(self.config), self.folder)
        if terminal.speaks():
            self.show(summary)
        return FAILED if self.folder.failed else 0

    def set_up(self) -> None:
        """Build the components and open the folder.

        Raises:
            UserError: a setting is not possible, or there are no examples.
        """
        ranks().each(self.build_components)
        limit = self.config.limit
        self.total = min(len(self.dataset), limit or len(self.dataset))
        if not self.total:
            raise UserError(f"dataset={self.choices['dataset']} has no examples")
        self.header = ranks().each(self.make_header)
        self.folder, self.made_with = ranks().first(self.open_folder)
        self.folder.rank = ranks().rank
        self.resumed = bool(self.folder.rows)

    def build_components(self) -> None:
        """Build what is quick to refuse before the model."""
        self.settings = read_settings(self.config)
        self.tracking: Tracking = build_tracking(self.config)
        if not ranks().leads:
            self.tracking = replace(self.tracking, mode="disabled")
        limit_pixels(self.config.get("max_pixels", MOST_PIXELS))
        self.dataset: Dataset = build(self.config, "dataset")
        for note in getattr(self.dataset, "notes", ()):
            terminal.print_once(note)
        self.inverter: Inverter = build(self.config, "inverter")
        require_start(self.inverter, self.settings.noised_steps, self.settings.steps)
        require_sampler(self.config, self.inverter)
        self.task: Task = build(self.config, "task")
        if isinstance(self.task, Choosy):
            self.task.check_inverter(self.inverter)
        pictures = self.dataset
        if isinstance(self.task, Grouping):
            self.dataset = self.task.group(self.dataset, self.settings.seed)
        self.build_model(pictures)

    def build_model(self, pictures: Dataset) -> None:
        """Build the model, and take measures away that do not know the pictures of a data set."""
        _seed_everything(self.settings.seed)
        self.model: Model = build(self.config, "model")
        if self.config.precision == "fp16" and self.model.device.type == "cpu":
            terminal.print_once(SLOW)
        if line := weakness(self.settings.guidance):
            terminal.print_once(line)
        self.task, left_out = without_misfits(self.task, self.model, pictures)
        for line in filter(None, (foreign_pictures(self.model, pictures), left_out)):
            terminal.print_notice(line)

    def open_folder(self) -> tuple[RunFolder, int]:
        """Write the configuration into the run folder; return its records and :attr:`made_with`.

        Raises:
            UserError: the run began with other weights.
        """
        require_same_weights(self.path, self.header)
        folder = RunFolder(self.path)
        if folder.rows:
            self.drop_outdated(folder)
        save_config(self.config, self.choices, self.path)
        return folder, note_provenance(self.path, self.header)

    def drop_outdated(self, folder: RunFolder) -> None:
        """Drop the examples that no longer count from the records, and say so."""
        before = load_config(self.path).config
        pictured = set(self.ids(self.config.images)) - set(self.ids(before.images))
        inversions = self.config.inversions and not before.inversions
        examples = {e.id: e for e in (self.dataset[k] for k in range(self.total))}
        outdated = find_outdated(folder, examples, pictured, inversions)
        for line in outdated.lines:
            terminal.print_notice(line)
        folder.drop(outdated.ids)

    def measure(self) -> None:
        """Do this process's share of the examples, as far as they are not done yet.

        A GPU computes the next batch while the records of the last one are written. A CPU has
        nothing idle for that, and times would be those of both.
        """
        share, config = ranks().share(self.total), resolved(self.config)
        settings = {**self.header, "config": {key: config[key] for key in SCIENCE}}
        pictured = set(self.ids(self.config.images))
        finished = set(self.folder.finished.ids)
        digests: dict[str, str | None] = {}
        examples = (self.dataset[k] for k in share)
        unfinished = (example for example in examples if example.id not in finished)
        remaining = sum(self.dataset[k].id not in finished for k in share)
        pace = terminal.Pace(remaining, self.settings.batch_size, self.label)
        title, on_cpu = self.label or self.title, self.model.device.type == "cpu"
        with (
            terminal.progress_bar(title, len(share), self.earlier_rows()) as bar,
            at_once() if on_cpu else in_order(self.settings.batch_size) as hand_over,
        ):
            for record in within_memory(
                self.task,
                self.model,
                self.inverter,
                digesting(unfinished, digests),
                self.settings,
                terminal.print_smaller_batches,
            ):
                origin = {"digest": digests.pop(record.id, None), "made_with": self.made_with}
                record = self.flagged(self.reduced(record, pictured))
                # Here, because opening an example need not be safe in another thread.
                new = record.inversion is not None and not self.folder.holds_inversion(record)
                entries = entries_of(record, settings) if new else {}
                hand_over(partial(self.write, record, entries, origin))
                bar.advance(record.metrics)
                pace.advance()

    def write(self, record: Record, entries: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
        """Write the files of a record, then track its line; see :meth:`RunFolder.append`."""
        row = self.folder.append(record, entries=entries, origin=origin)
        self.tracker.example(len(self.folder.rows) - 1, row)

    def earlier_rows(self) -> Iterator[Mapping[str, Any]]:
        """Track the lines of an earlier process, and yield this process's part of them."""
        for index, row in enumerate(self.folder.rows.heads()):
            self.tracker.example(index, row)
            if index % ranks().size == 0:
                yield row

    def summarise(self) -> dict[str, Any]:
        """Write and return the summary, in the first process; return nothing in others.

        The lines of all processes become those that a single process would have written, had it
        never been stopped.
        """
        if not ranks().leads:
            return {}
        count = len(self.folder.rows)
        for index, row in enumerate(self.folder.merge()):
            self.tracker.example(count + index, row)
        if self.resumed or ranks().size > 1:
            self.folder.arrange(self.ids(self.total))
        header = self.header | made_with(self.path, self.folder.rows, self.made_with)
        pooled = self.task.pool(self.folder.arrays()) if isinstance(self.task, Pooling) else {}
        return self.folder.summarise(header, self.total, self.task.metrics, pooled)

    def show(self, summary: Mapping[str, Any]) -> None:
        """Print the table, unless a sweep will print one of its jobs, failures and the folder."""
        if not self.label:
            print(f"{self.title}, n = {summary['n']}{self.left_out}")
            means = {name: value for name, value in summary.items() if is_interval(value)}
            full = self.config.get("table") == "full"
            if shown := list(means) if full else terminal.short(means):
                terminal.show(terminal.run_table(means, shown))
        terminal.print_cut(self.folder.rows)
        terminal.print_failed(self.folder.failed, summary["total"])
        print(self.path)

    @property
    def left_out(self) -> str:
        """The number of all examples, in words, where the limit leaves some out."""
        size = len(self.dataset)
        return "" if size == self.total else f" of {size} (limit={self.total}; null takes all)"

    def ids(self, count: int | None) -> list[str]:
        """Return the ids of the first ``count`` of the run's examples; None stands for all."""
        whole = self.total if count is None else min(count, self.total)
        return [self.dataset[k].id for k in range(whole)]

    def reduced(self, record: Record, pictured: set[str]) -> Record:
        """Return the record without pictures and inversion that the configuration leaves out.

        Its tensors are on the CPU, so that a record that waits to be written holds none of the
        device's memory.
        """
        inversion = record.inversion if self.config.inversions else None
        if inversion is not None:
            inversion = combine([inversion], lambda x, _: x[0].cpu())
        return replace(
            record,
            images=record.images if record.id in pictured else {},
            inversion=inversion,
            arrays={name: array.cpu() for name, array in record.arrays.items()},
        )

    def flagged(self, record: Record) -> Record:
        """Return the record with the ends of its prompts that the model ignores."""
        prompts = () if record.error else (record.prompt, record.texts.get("target", ""))
        ignored = "; ".join(filter(None, map(self.model.excess, prompts)))
        return replace(record, texts={**record.texts, "ignored": ignored}) if ignored else record

    def make_header(self) -> dict[str, Any]:
        """Return the entries of the summary that say what was run, with what."""
        groups = ("dataset", "inverter", "adjustment", "task")
        return {
            "model": self.model.name,
            "model_path": self.model.origin.path,
            "model_commit": self.model.origin.commit,
            "model_digest": self.model.origin.digest,
            "scheduler": self.model.origin.scheduler,
            "spacing": self.model.origin.spacing,
            "sampler": self.model.origin.sampler,
            **{group: self.choices.get(group) for group in groups},
            "dataset_size": len(self.dataset),
            **vars(self.settings),
            "precision": self.config.precision,
            "device": str(self.model.device),
            "versions": versions(),
            "commit": repository_commit(),
        }

    def identity(self) -> Identity:
        """Return what W&B shows of the run: name, group, job type, tags, configuration."""
        task, dataset, inverter = (str(self.choices[k]) for k in ("task", "dataset", "inverter"))
        tags = [self.model.name, dataset, inverter]
        name = "/".join([task, *tags[::-1], f"seed{self.config.seed}"])
        sweep = read_origin(self.path).sweep or os.environ.get("WANDB_SWEEP_ID")
        group = self.choices.get("experiment") or sweep
        return Identity(name, group, task, list(dict.fromkeys(tags)), resolved(self.config))

    @property
    def title(self) -> str:
        """The heading of the progress bar and of the table."""
        task, dataset, inverter = (self.choices[k] for k in ("task", "dataset", "inverter"))
        return f"{task}: inverter {inverter}, data set {dataset}, model {self.model.name}"


def _seed_everything(seed: int) -> None:
    """Seed every generator, in the job: the jobs of a sweep may share a process."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
