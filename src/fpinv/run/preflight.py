"""Checks before anything runs, of one run and of all jobs of a sweep."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from fpinv.errors import UserError
from fpinv.inverters.noised import require_start
from fpinv.run.build import build, check
from fpinv.run.folder import holds_run
from fpinv.run.layout import list_jobs, origin_of
from fpinv.run.messages import MENDABLE, explain, refuse_unknown_additions
from fpinv.run.stored_config import CONFIG_FILE, differing_keys
from fpinv.run.tracking import build_tracking
from fpinv.sampling import require_multistep, require_stochastic
from fpinv.tasks.task import Settings, check_guidance, option, whole_number

GUIDANCES = (
    *("guidance", "task.guidance", "inverter.inversion_guidance"),
    *("task.method.source_guidance", "task.method.target_guidance"),
)
TABLES = ("short", "full")
SWITCHES = ("inversions", "negative_guidance")
CHECKED = ("dataset", "task", "model")  # by their signatures: to build them may take long


def read_settings(config: DictConfig) -> Settings:
    """Return the numbers that every task needs.

    Raises:
        UserError: one of the configuration's numbers is not possible.
    """
    for key, at_least in (("images", 0), ("limit", 1), ("max_pixels", 1)):
        if config.get(key) is not None:
            whole_number(key, config[key], at_least)
    option("table", config.get("table", "short"), TABLES)
    for key in SWITCHES:
        if not isinstance(value := config.get(key, False), bool):
            raise UserError(f"{key}={value} is not possible: give true or false")
    # Runs of before a key was added have none of it, and are continued with its default.
    names = [key.name for key in fields(Settings) if key.name in config]
    settings = Settings(**{name: config[name] for name in names})
    for key in GUIDANCES:
        check_guidance(key, OmegaConf.select(config, key), bool(config.get("negative_guidance")))
    if not _inverts(config.task):
        _refuse_unused(config)
    return settings


def _inverts(task: DictConfig) -> bool:
    """Return whether a task inverts images: controls and plain sampling do not."""
    without_centroid = "centroid" in task and task.centroid is None
    return (
        "adjustment" in task
        and task.get("seeds", "inverted") == "inverted"
        and not without_centroid
    )


def _refuse_unused(config: DictConfig) -> None:
    """Refuse what only inversions of the data set's images heed.

    Raises:
        UserError: a key asks for it.
    """
    adjustment = OmegaConf.select(config, "adjustment._target_") or ""
    settings = {
        "adjustment": adjustment and not adjustment.endswith(".Unadjusted"),
        "noised_steps": config.get("noised_steps"),
        "inversions": config.get("inversions"),
    }
    if unused := [key for key, value in settings.items() if value]:
        raise UserError(
            f"{unused[0]}=... has no part where no image of the data set is inverted: leave it out"
        )


def require_sampler(config: DictConfig, inverter: object) -> None:
    """Raise UserError where the inverter does not know the sampler, before the model is loaded."""
    if OmegaConf.select(config, "model.sampler") is not None:
        sampler = build(config, "model.sampler")
        if sampler.multistep:
            require_multistep(inverter)
        if sampler.stochastic:
            require_stochastic(inverter)


def refuse_another_run(config: DictConfig, folder: Path, goes_on: bool) -> None:
    """Refuse a folder that holds a run already.

    Arguments:
        config: The configuration of the new run.
        folder: The folder that it would write to.
        goes_on: True for a job of a sweep, which continues a run of the same configuration.

    Raises:
        UserError: the folder holds a run that the new one does not continue.
    """
    if not holds_run(folder):
        return
    stored = goes_on and (folder / CONFIG_FILE).exists()
    keys = differing_keys(config, folder) if stored else []
    if keys or not stored:
        why = f", with another value of {keys[0]}" if keys else ""
        raise UserError(
            f"{folder} holds a run already{why}: continue it with resume={folder}, or choose "
            "another folder with hydra.run.dir (for a sweep hydra.sweep.dir)"
        )


def check_jobs(sweep: Path, configs: Sequence[DictConfig]) -> None:
    """Check the values and folders of all jobs of a sweep, and list them in its sweep.json.

    Arguments:
        sweep: The folder of the sweep.
        configs: The configuration of each job, with Hydra's own keys.

    Raises:
        UserError: a job would be refused; the message names the first one.
    """
    folders = [_checked_folder(sweep, config) for config in configs]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise UserError(
                f"hydra.sweep.subdir: several jobs would write to {folder}: put "
                "${hydra.job.num} into it"
            )
    list_jobs(sweep, folders)


def _checked_folder(sweep: Path, config: DictConfig) -> Path:
    with _at_job(config):
        folder = Path(os.path.abspath(sweep / str(config.hydra.sweep.subdir)))
        try:
            hydra = config.hydra
            refuse_unknown_additions(hydra.overrides.task, config, hydra.runtime.choices)
            _check_job(_without_hydra(config), folder)
        except MENDABLE as error:
            line = explain(error)
            raise UserError(f"{origin_of(config.hydra).label}: {line}") from error
    return folder


def _check_job(config: DictConfig, folder: Path) -> None:
    settings = read_settings(config)
    build_tracking(config)
    inverter = build(config, "inverter")
    require_start(inverter, settings.noised_steps, settings.steps)
    require_sampler(config, inverter)
    for key in CHECKED:
        check(config, key)
    refuse_another_run(config, folder, goes_on=True)


@contextmanager
def _at_job(config: DictConfig) -> Iterator[None]:
    """Have the resolver ``hydra:`` see a job's configuration, as it does while the job runs."""
    earlier = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = earlier


def _without_hydra(config: DictConfig) -> DictConfig:
    job = copy.deepcopy(config)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job
