"""Weights & Biases: a view of a run's records, offline by default, which never fails the run."""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from fpinv.errors import UserError
from fpinv.run.build import build
from fpinv.run.files import write
from fpinv.run.folder import RunFolder, is_interval
from fpinv.run.layout import read_origin
from fpinv.tasks.record import metrics_of

if TYPE_CHECKING:
    from wandb import Run

MODES = ("online", "offline", "disabled")
CHARTS = (
    ("PSNR against iterations", "iterations", "psnr"),
    ("residual against iterations", "iterations", "residual"),
    ("PSNR against guidance", "guidance", "psnr"),
    ("PSNR against seconds", "seconds_per_image", "psnr"),
)
"""Title, axis and metric of charts with one point a run: FPI's Fig. 3 and Fig. 5."""
LINES = "wandb/line/v0"  # W&B's own chart of lines
SHIFT_FILE = "wandb_steps.txt"  # in a run folder: steps of its W&B run beyond its examples
PICTURES = "examples"  # key of the table of pictures
ATTEMPTS = {"online": ("online", "offline"), "offline": ("offline",), "disabled": ()}
"""The modes that are tried, by the setting."""
PATIENCE = 30.0  # seconds to wait for the server before the run is tracked offline

OF_ONE_RUN = (
    *("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM"),
    *("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_LAUNCH"),
)
"""Variables that are about one run, and by which W&B would let none have an id of its own."""


@dataclass(frozen=True)
class Tracking:
    """The settings of W&B.

    Arguments:
        mode: online, offline (files in the run folder, for ``wandb sync``) or disabled.
        project: W&B project.
        entity: W&B team or user; None for the default one.
        images: Number of examples in the table of pictures.
        axes: Axes of charts over runs: keys of the configuration that a sweep may vary, and
            metrics.
    """

    mode: str = "offline"
    project: str = "fpinv"
    entity: str | None = None
    images: int = 32
    axes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"tracking.mode={self.mode} is unknown; use one of {', '.join(MODES)}")
        if isinstance(self.axes, str) or not isinstance(self.axes, Sequence):
            raise UserError(f"tracking.axes={self.axes} is no list: write [{self.axes}]")


def build_tracking(config: DictConfig) -> Tracking:
    """Return the settings of a run's configuration; ``tracking=null`` stands for disabled.

    Raises:
        UserError: a key has no value, is no argument, or has the wrong type.
    """
    if config.get("tracking") is None:
        return Tracking(mode="disabled")
    settings: Tracking = build(config, "tracking")
    return settings


@dataclass(frozen=True)
class Identity:
    """The fields by which W&B finds a run among others.

    Arguments:
        name: Name for people.
        group: The experiment or sweep that the run is part of; None for a run of its own.
        job_type: The task.
        tags: The names of model, data set and inverter.
        config: The resolved configuration.
    """

    name: str
    group: str | None
    job_type: str
    tags: Sequence[str]
    config: Mapping[str, Any]


class Tracker:
    """A view of records in a W&B run, which is given up at its first error.

    Arguments:
        run: The W&B run; None tracks nothing.
        settings: See :class:`Tracking`.
        shift: Steps that the W&B run has beyond its examples, from when it was finished before.

    Attributes:
        exit_code: The exit code that the W&B run will end with.
    """

    def __init__(self, run: Run | None, settings: Tracking, shift: int = 0) -> None:
        self._run = run
        self._settings = settings
        self._shift = shift
        self.exit_code = 0

    def _attempt(self, action: Callable[[Run], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            _print(f"tracking stopped ({_in_one_line(error)}); the records go on")

    def define(self) -> None:
        """Give every metric its axis."""
        self._attempt(lambda run: _define(run, self._settings.axes))

    def example(self, index: int, row: Mapping[str, Any]) -> None:
        """Show the scalars of one line of metrics.jsonl, the ``index``-th of its run.

        Steps are explicit, so that a resumed run can show its earlier lines again: W&B ignores
        those that it has, and the newest offline file is complete by itself. What finished a run
        took steps, too, which those of later examples must be beyond.
        """
        scalars = {f"example/{k}": v for k, v in metrics_of(row).items() if v is not None}
        point = {"example/index": index, **scalars}
        self._attempt(lambda run: run.log(point, step=index + self._shift, commit=True))

    def finish(
        self, summary: Mapping[str, Any], config: Mapping[str, Any], folder: RunFolder
    ) -> None:
        """Show the means, a point on each axis and chart, the mean series and the pictures."""
        means = {k: v["mean"] for k, v in summary.items() if is_interval(v)}
        self.exit_code = int(summary["failed"] > 0)
        places = _places(means, config, self._settings.axes)
        self._attempt(lambda run: run.log(_points(means, places)))
        self._attempt(lambda run: run.log(_charts(str(summary.get("inverter")), means | places)))
        self._attempt(lambda run: [run.log(point) for point in _steps(folder.rows)])
        if self._settings.images:
            self._attempt(lambda run: run.log(_pictures(folder, self._settings.images)))
        scalars = {k: v for k, v in summary.items() if isinstance(v, (str, int, float))}
        self._attempt(lambda run: run.summary.update(scalars | means))
        self._attempt(lambda run: _note_shift(folder, run))

    def close(self, exit_code: int) -> None:
        """Finish the W&B run; without this the next job of a sweep would continue it."""
        self._attempt(lambda run: run.finish(exit_code=exit_code))


@contextmanager
def track(settings: Tracking, identity: Identity, folder: Path) -> Iterator[Tracker]:
    """Yield the tracker of a run; a resumed run continues the W&B run of its folder."""
    with _staging(folder):
        tracker = Tracker(_start(settings, identity, folder), settings, _shift(folder))
        tracker.define()
        try:
            yield tracker
        except BaseException:
            tracker.close(exit_code=1)
            raise
        tracker.close(tracker.exit_code)


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Have W&B keep the table's pictures in the run folder instead of the home directory."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve() / "wandb")
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _start(settings: Tracking, identity: Identity, folder: Path) -> Run | None:
    """Return the W&B run, offline where that fails online; None where it is not tracked."""
    reasons: list[str] = []
    for mode in ATTEMPTS[settings.mode]:
        try:
            run = _init(replace(settings, mode=mode), identity, folder)
        except Exception as error:
            reasons.append(_in_one_line(error))
            _leave_service()
        else:
            if reasons:
                files = Path(run.dir).parent
                _print(f"tracked offline ({reasons[0]}); 'wandb sync {files}' can send it later")
            return run
    if reasons:
        _print(f"not tracked ({'; '.join(reasons)}); the records are kept all the same")
    return None


def _leave_service() -> None:
    """End W&B's service, which would refuse another run by the id of one that failed."""
    with suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()


def _init(settings: Tracking, identity: Identity, folder: Path) -> Run:
    import wandb

    id = _run_id(folder)
    with _not_taken_for_another(id):
        wandb.setup(wandb.Settings(silent=True))  # of what it says about the account, too
        return wandb.init(
            mode=settings.mode,  # type: ignore[arg-type]
            project=settings.project,
            entity=settings.entity,
            dir=folder,
            id=id,
            resume="allow" if settings.mode == "online" else None,
            reinit="finish_previous",
            **vars(replace(identity, config={**identity.config, "folder": str(folder)})),
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=PATIENCE, login_timeout=PATIENCE
            ),
        )


def _run_id(folder: Path) -> str:
    """Return the id in the folder, else that of the environment, else a new one.

    A W&B sweep agent names the run of its command in the environment; the jobs of a sweep are
    several runs.
    """
    file = folder / "wandb_id.txt"
    if not file.exists():
        id = None if read_origin(folder).sweep else os.environ.get("WANDB_RUN_ID")
        write(file, id or secrets.token_hex(4))
    return file.read_text(encoding="utf-8").strip()


def _shift(folder: Path) -> int:
    """Return the steps that the W&B run of a folder took when it was finished; 0 for none."""
    file = folder / SHIFT_FILE
    return int(file.read_text(encoding="utf-8")) if file.exists() else 0


def _note_shift(folder: RunFolder, run: Run) -> None:
    write(folder.path / SHIFT_FILE, str(run.step - len(folder.rows)))


@contextmanager
def _not_taken_for_another(id: str) -> Iterator[None]:
    """Hide the environment's variables about a run from W&B, unless they name the run ``id``."""
    names = () if os.environ.get("WANDB_RUN_ID") == id else OF_ONE_RUN
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _define(run: Run, axes: Sequence[str]) -> None:
    for kind in ("example", "step"):
        run.define_metric(f"{kind}/index", hidden=True)
        run.define_metric(f"{kind}/*", step_metric=f"{kind}/index", summary="none")
    for name in map(_axis_name, axes):
        run.define_metric(name)
        run.define_metric(f"by_{name}/*", step_metric=name, summary="none")


def _places(
    means: Mapping[str, float | None], config: Mapping[str, Any], axes: Sequence[str]
) -> dict[str, float]:
    """Return the place of the run on each axis: its setting, or else its mean."""
    places = {}
    for key in axes:
        setting = _select(config, key)
        places[_axis_name(key)] = means.get(key) if setting is None else setting
    return {name: value for name, value in places.items() if isinstance(value, (int, float))}


def _points(means: Mapping[str, float | None], places: Mapping[str, float]) -> dict[str, float]:
    """Return each mean once per axis, with the axis itself: a sweep's group draws the curve."""
    points = dict(places)
    for axis in places:
        points |= {f"by_{axis}/{k}": v for k, v in means.items() if v is not None}
    return points


def chart_key(axis: str, metric: str) -> str:
    """Return the key of a chart; that of its table ends in ``_table``."""
    return f"charts/{metric}_by_{axis}"


def _charts(inverter: str, values: Mapping[str, float | None]) -> dict[str, Any]:
    """Return a point on each chart that W&B draws over all runs in view, a line an inverter."""
    import wandb

    charts = {}
    for title, axis, metric in CHARTS:
        point = [values.get(axis), values.get(metric)]
        if None not in point:
            table = wandb.Table(["inverter", axis, metric], [[inverter, *point]])
            fields = {"x": axis, "y": metric, "stroke": "inverter"}
            charts[chart_key(axis, metric)] = wandb.plot_table(
                LINES, table, fields, {"title": title}
            )
    return charts


def _axis_name(key: str) -> str:
    return key.rpartition(".")[2]


def _select(config: Any, key: str) -> Any:  # noqa: ANN401
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def _steps(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, float | None]]:
    """Yield the mean of each series over the examples, one point per step of the grid."""
    sums: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: Counter[tuple[int, str]] = Counter()
    for row in rows:
        for name, values in row["series"].items():
            for i, value in enumerate(values, 1):
                if value is not None:
                    sums[i][f"step/{name}"] += value
                    counts[i, f"step/{name}"] += 1
    for i, totals in sorted(sums.items()):
        yield {"step/index": i, **{n: total / counts[i, n] for n, total in totals.items()}}


def _pictures(folder: RunFolder, limit: int) -> dict[str, Any]:
    """Return the table of pictures, read from the folder so that none wait in memory."""
    import wandb

    rows = list(islice((row for row in folder.rows if row["images"]), limit))
    names = list(dict.fromkeys(name for row in rows for name in row["images"]))
    metrics = list(dict.fromkeys(name for row in rows for name in metrics_of(row)))
    table = wandb.Table(columns=["id", "prompt", *names, *metrics])
    for row in rows:
        files = {name: str(folder.picture(row["id"], name)) for name in row["images"]}
        pictures = [wandb.Image(files[name]) if name in files else None for name in names]
        table.add_data(row["id"], row["prompt"], *pictures, *(row.get(name) for name in metrics))
    return {PICTURES: table} if rows else {}


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _print(text: str) -> None:
    print(f"W&B: {text}", file=sys.stderr)
