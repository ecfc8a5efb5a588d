"""Hydra's basic sweeper, extended to make all sweeps of an experiment (``hydra/sweeper=sweeps``).

Hydra finds sweepers in the namespace package ``hydra_plugins`` only, and executes every module
there at its start, before ``sys.modules`` has it: this one imports nothing heavy, and its
annotations are no strings, which dataclasses would look up there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

# Hydra escapes the colon when it has parsed it.
REFERENCE = re.compile(r"(?<==)sweep\\?:(\S+)$")
CHOICE = re.compile(r"best\\?:(\S+)")
MISUSED = 2  # the exit code of a job that a user error ended: the same error awaits the next ones


@dataclass
class SweepsSweeperConf:
    """Configuration of :class:`SweepsSweeper`.

    Attributes:
        max_batch_size: Jobs that a launcher gets at a time, of a sweep without ``sweeps``.
        params: Values by key, several with commas between them: of every sweep.
        sweeps: By the name of the sweep its own params. A sweep with an empty value is left out.
            ``task.inversions: sweep:path`` stands for the folder of that job of the sweep ``path``
            which has the same values of all keys that ``path`` varies; it runs after ``path``.
            ``guidance: best:val`` stands for the guidance of the best job of the sweeps ``val``
            and ``val/...`` among those with the same values of all other keys that they vary.
        criteria: The metrics of their summaries by which the best job has the highest mean; the
            second one decides between equals, and so on. A job with fewer failed examples is
            better whatever they are, and of equal ones the first.
    """

    _target_: str = "hydra_plugins.fpinv_sweeper.SweepsSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    criteria: list[str] = field(default_factory=list)


ConfigStore.instance().store(
    group="hydra/sweeper", name="sweeps", node=SweepsSweeperConf, provider="fpinv"
)


@dataclass(frozen=True)
class PlannedJob:
    """A job that is still to be run.

    Arguments:
        overrides: ``key=value`` of everything that it sets.
        folder: Its folder below that of the sweeps.
        stage: 0, or one more than the stage of the sweeps whose results it needs.
        candidates: The jobs of which the best has the values that are still to be chosen.
    """

    overrides: Sequence[str]
    folder: str
    stage: int
    candidates: Sequence["PlannedJob"] = ()

    @property
    def values(self) -> dict[str, str]:
        """Return the value of each key, but for the one that names the folder."""
        values = dict(override.split("=", 1) for override in self.overrides)
        return {key: value for key, value in values.items() if key != "hydra.sweep.subdir"}


class SweepsSweeper(BasicSweeper):
    """Products of overrides, one for each sweep in ``sweeps``; without any, the basic sweeper.

    Jobs go to ``<sweep dir>/<sweep>/<number>``. What stands on the command line wins over what the
    sweeps have. Sweeps that need no results of others are launched together.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        sweeps: Mapping[str, Mapping[str, Any]] | None = None,
        criteria: Sequence[str] = (),
    ) -> None:
        super().__init__(max_batch_size, params)
        self.sweeps, self.criteria = sweeps or {}, criteria

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run all sweeps; stop at a user error, which the following jobs would meet, too."""
        # Checked before multirun.yaml is written: an earlier sweep in the folder goes on by it.
        if not self.sweeps:
            self.check(self._products([*self._parse_config(), *arguments]))
            return super().sweep(arguments)
        jobs = self.plan(arguments)
        assert self.config is not None and self.launcher is not None
        # Jobs with values to be chosen are checked with those that are best so far.
        self.check([self.settled(job, finished=False) for job in jobs])
        from fpinv.run.layout import SWEEP_FILE

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / SWEEP_FILE)
        returns: list[Sequence[JobReturn]] = []
        for batch in self._batches(jobs):
            number = sum(map(len, returns))
            settled = [self.settled(job) for job in batch]
            returns.append(self.launcher.launch(settled, initial_job_idx=number))
            if any(job.return_value == MISUSED for job in returns[-1]):
                break
        return returns

    def check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Compose and check all jobs before the first one begins.

        Raises:
            UserError: a job has a value that is not possible, or its folder holds another run.
        """
        from fpinv.run.preflight import check_jobs
        from fpinv.run.processes import ranks

        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        configs = [self._composed(number, overrides) for number, overrides in enumerate(jobs)]
        ranks().first(lambda: check_jobs(folder, configs))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the batches of the basic sweeper as they are: all jobs have been checked."""

    def _composed(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """Return the configuration of a job, with its number."""
        assert self.hydra_context is not None and self.config is not None
        loader = self.hydra_context.config_loader
        job: DictConfig = loader.load_sweep_config(self.config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = job.hydra.job.num = number
        return job

    def _batches(self, jobs: Sequence[PlannedJob]) -> list[list[PlannedJob]]:
        """Return the jobs of each stage; the basic launcher, which runs one after another, gets
        them one by one, so that nothing follows a user error."""
        if isinstance(self.launcher, BasicLauncher):
            return [[job] for job in jobs]
        stages = sorted({job.stage for job in jobs})
        return [[job for job in jobs if job.stage == stage] for stage in stages]

    def settled(self, job: PlannedJob, finished: bool = True) -> Sequence[str]:
        """Return the overrides of a job, with the values of the best of its candidates.

        Arguments:
            job: The job.
            finished: False if candidates may have no results yet.

        Raises:
            UserError: a candidate has no results.
        """
        if not job.candidates:
            return job.overrides
        from fpinv.run.processes import ranks
        from fpinv.run.selection import best

        assert self.config is not None
        sweep = Path(self.config.hydra.sweep.dir)
        folders = [sweep / candidate.folder for candidate in job.candidates]
        place = ranks().first(lambda: best(folders, self.criteria, finished))
        values = job.candidates[place].values
        pairs = [(*override.partition("=")[::2], override) for override in job.overrides]
        return [
            f"{key}={values[key]}" if CHOICE.fullmatch(value) else override
            for key, value, override in pairs
        ]

    def plan(self, arguments: Sequence[str]) -> list[PlannedJob]:
        """Return the jobs of all sweeps, those of the first stage first.

        Raises:
            HydraException: a sweep needs the results of one that does not stand before it.
        """
        sweeps: dict[str, list[PlannedJob]] = {}
        for name, params in self.sweeps.items():
            values = {**self.params, **params}
            empty = any(value == "" for value in values.values())
            sweeps[name] = [] if empty else self._jobs(name, values, arguments, sweeps)
        return sorted(sum(sweeps.values(), []), key=lambda job: job.stage)

    def _jobs(
        self,
        name: str,
        params: Mapping[str, Any],
        arguments: Sequence[str],
        earlier: Mapping[str, Sequence[PlannedJob]],
    ) -> list[PlannedJob]:
        settings = [f"{key}={'null' if value is None else value}" for key, value in params.items()]
        return [
            self._planned(f"{name}/{number}", overrides, earlier)
            for number, overrides in enumerate(self._products([*settings, *arguments]))
        ]

    def _products(self, lines: Sequence[str]) -> list[list[str]]:
        """Return the overrides of each job in the product of lines with several values."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (products,) = self.split_arguments(parser.parse_overrides(list(lines)), None)
        return products

    def _planned(
        self, folder: str, overrides: Sequence[str], earlier: Mapping[str, Sequence[PlannedJob]]
    ) -> PlannedJob:
        job = PlannedJob([*overrides, f"hydra.sweep.subdir={folder}"], folder, stage=0)
        names = {match[1] for match in map(REFERENCE.search, overrides) if match}
        sources = {name: _counterpart(job, name, earlier.get(name, ())) for name in names}
        candidates = _candidates(job, earlier)
        needed = [*sources.values(), *candidates]
        stage = max((source.stage + 1 for source in needed), default=0)
        filled = [
            REFERENCE.sub(lambda match: self._path(sources[match[1]]), override)
            for override in job.overrides
        ]
        return PlannedJob(filled, folder, stage, candidates)

    def _path(self, job: PlannedJob) -> str:
        """Return a job's folder, quoted for Hydra's grammar of overrides where it has to be."""
        from fpinv.run.grammar import quoted
        from fpinv.run.processes import ranks

        assert self.config is not None
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        # of processes that share a run, all but the first have scratch folders
        return quoted(ranks().first(lambda: sweep) / job.folder)


def _counterpart(job: PlannedJob, name: str, candidates: Sequence[PlannedJob]) -> PlannedJob:
    """Return the job of the sweep ``name`` that shares the values of all keys which it varies.

    Raises:
        HydraException: there is none.
    """
    from fpinv.run.job_result import varied

    keys = varied([candidate.values for candidate in candidates])
    for candidate in candidates:
        if all(candidate.values.get(key) == job.values.get(key) for key in keys):
            return candidate
    raise HydraException(f"{job.folder} needs a job of the sweep {name}, which has none like it")


def _candidates(
    job: PlannedJob, earlier: Mapping[str, Sequence[PlannedJob]]
) -> Sequence[PlannedJob]:
    """Return the jobs of which the best has the values of the keys that a job leaves open.

    They share the values of all other keys which their sweeps vary.

    Raises:
        HydraException: there is none, it says nothing of such a key, or several sweeps are named.
    """
    from fpinv.run.job_result import varied

    matches = {key: CHOICE.fullmatch(value) for key, value in job.values.items()}
    names = {key: match[1] for key, match in matches.items() if match}
    if not names:
        return ()
    if len(set(names.values())) > 1:
        raise HydraException(
            f"{job.folder} takes the best of several: {', '.join(names.values())}"
        )
    name = next(iter(names.values()))
    sweeps = [jobs for key, jobs in earlier.items() if f"{key}/".startswith(f"{name}/")]
    every = [candidate for jobs in sweeps for candidate in jobs]
    keys = [key for key in varied([c.values for c in every]) if key not in names]
    matching = [c for c in every if all(c.values.get(k) == job.values.get(k) for k in keys)]
    if not matching:
        raise HydraException(
            f"{job.folder} needs jobs of the sweep {name}, which has none like it"
        )
    for key in names:
        if any(key not in candidate.values for candidate in matching):
            raise HydraException(f"{job.folder} takes {key} from the sweep {name}, which has none")
    return matching
