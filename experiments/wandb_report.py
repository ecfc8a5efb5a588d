"""Write a W&B Report of runs that were sent there: FPI's Fig. 3 and Fig. 5, steps, pictures.

``python experiments/wandb_report.py <team>/<project> [--group <experiment or sweep>]``, after
``wandb login`` and, for runs tracked offline, ``wandb sync``. It needs wandb-workspaces.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fpinv.errors import UserError, command
from fpinv.run.messages import explain
from fpinv.run.tracking import CHARTS, LINES, PICTURES, chart_key

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report

STEPS = ("residual", "iterations")
MEANS = ("psnr", "gap", "latent_psnr", "residual", "nfe_calls", "seconds_per_image")


def _library() -> Any:  # noqa: ANN401
    """Return the public API of W&B Reports.

    Raises:
        UserError: The API is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as library
    except ImportError:
        raise UserError(
            "W&B Reports are written by a package of their own: pip install wandb-workspaces"
        ) from None
    return library


def charts() -> list[Any]:
    """Return the panels of Fig. 3 and Fig. 5: a point a run, a line an inverter."""
    wr = _library()
    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{chart_key(axis, metric)}_table"}},
            chart_name=LINES,
            chart_fields={"x": axis, "y": metric, "stroke": "inverter"},
            chart_strings={"title": title},
        )
        for title, axis, metric in CHARTS
    ]


def curves() -> list[Any]:
    """Return the panels along the sampling grid: a line a run."""
    wr = _library()
    return [
        wr.LinePlot(title=f"{name} along the grid", x="step/index", y=[f"step/{name}"], log_y=True)
        for name in STEPS
    ]


def bars() -> list[Any]:
    """Return the panels of means over the examples: a bar a run."""
    wr = _library()
    return [wr.BarPlot(title=name, metrics=[name]) for name in MEANS]


def report(entity: str, project: str, group: str | None) -> Report:
    """Return the report, which is not sent yet.

    Arguments:
        entity: W&B team or user.
        project: W&B project.
        group: The experiment or sweep; None for all runs of the project.
    """
    wr = _library()
    name, filters = (group, f"Group = '{group}'") if group else (project, "")

    def grid(panels: list[Any]) -> Any:  # noqa: ANN401
        runs = wr.Runset(entity=entity, project=project, name=name, filters=filters)
        return wr.PanelGrid(runsets=[runs], panels=panels)

    return wr.Report(
        project=project,
        entity=entity,
        title=f"Inversion: {name}",
        description="Accuracy against iterations, guidance and time, and what came back.",
        width="fluid",
        blocks=[
            *(wr.H2("Accuracy and its cost"), grid(charts())),
            *(wr.H2("Along the sampling grid"), grid(curves())),
            *(wr.H2("Means over the examples"), grid(bars())),
            wr.H2("Pictures"),
            wr.WeaveBlockSummaryTable(entity, project, PICTURES),
        ],
    )


@command
def main(arguments: Sequence[str] | None = None) -> int | None:
    """Send the report and print its address."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("project", help="<team or user>/<project>")
    parser.add_argument("--group", help="an experiment, or a sweep's folder name or id")
    options = parser.parse_args(arguments)
    entity, _, project = options.project.partition("/")
    if not entity or not project:
        raise UserError(f"{options.project}: name it as <team or user>/<project>")
    draft = report(entity, project, options.group)
    try:
        draft.save()
    except Exception as error:  # the network's and the account's, of many kinds
        print(f"error: the report was not saved ({explain(error)})", file=sys.stderr)
        return 1
    print(draft.url)
    return None


if __name__ == "__main__":
    sys.exit(main())
