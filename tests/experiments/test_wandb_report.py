"""The W&B report, built without a server: panels of logged keys, sent as one view."""

from __future__ import annotations

import builtins
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import scripts
from wandb_files import of_kind, offline_files, values

script = scripts.load("wandb_report")
INSTALL = "needs wandb-workspaces: pip install -e '.[dev]'"


@pytest.fixture
def library() -> Any:
    """Return W&B's library of reports, whose network stays out of reach."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of pydantic
        module = "wandb_workspaces.reports.v2.interface"
        return pytest.importorskip(module, reason=INSTALL)


@pytest.fixture(scope="module")
def logged(recorded_sweep: Path) -> dict[str, set[str]]:
    """Return the keys that the runs of a sweep logged: over time, at the end, and of tables."""
    logged_keys: dict[str, set[str]] = {"history": set(), "summary": set(), "tables": set()}
    for file in offline_files(recorded_sweep):
        for item in of_kind(file, "history"):
            logged_keys["history"] |= values(item.item).keys()
        for update in of_kind(file, "summary"):
            logged_keys["summary"] |= values(update.update).keys()
        for artifact in of_kind(file, "artifact"):
            paths = [entry.path for entry in artifact.manifest.contents]
            logged_keys["tables"] |= {p.removesuffix(".table.json") for p in paths}
    return logged_keys


def test_panels_show_keys_that_runs_log(library: Any, logged: dict[str, set[str]]):
    for panel in script.charts():
        assert panel.query["summaryTable"]["tableKey"] in logged["tables"]
    for panel in script.curves():
        assert {panel.x, *panel.y} <= logged["history"]
    for panel in script.bars():
        assert set(panel.metrics) <= logged["summary"]
    assert script.PICTURES in logged["tables"]


def test_panels_include_figures_3_and_5(library: Any):
    axes = {(panel.chart_fields["x"], panel.chart_fields["y"]) for panel in script.charts()}
    assert {("iterations", "psnr"), ("iterations", "residual")} <= axes
    assert ("seconds_per_image", "psnr") in axes


def test_report_is_sent_with_all_panels_and_the_runs_of_the_group(
    library: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    sent = {}

    class Server:
        """Has the project."""

        def projects(self, entity: str) -> list[Any]:
            return [type("Project", (), {"name": "fpinv"})]

    def execute(api: Server, query: Any, variables: dict[str, Any]) -> dict[str, Any]:
        if "spec" not in variables:
            return {"project": {"internalId": "1"}}
        sent.update(variables)
        fields = {k: variables[k] for k in ("name", "displayName", "description", "spec")}
        project = {"name": "fpinv", "entityName": "team"}
        return {"upsertView": {"view": fields | {"id": "abc", "project": project}}}

    monkeypatch.setattr(library, "_get_api", Server)
    monkeypatch.setattr(library, "execute_graphql", execute)
    monkeypatch.setattr(library.Report, "url", property(lambda self: f"https://x/{self.id}"))
    assert script.main(["team/fpinv", "--group", "a sweep"]) == 0
    assert capsys.readouterr().out == "https://x/abc\n"
    assert (sent["entityName"], sent["projectName"]) == ("team", "fpinv")
    spec = json.loads(sent["spec"])
    (grid, *more) = (block for block in spec["blocks"] if block["type"] == "panel-grid")
    filters = grid["metadata"]["runSets"][0]["filters"]["filters"]
    assert filters[0]["key"] == {"section": "run", "name": "group"}
    assert filters[0]["value"] == "a sweep"
    panels = [len(block["metadata"]["panelBankSectionConfig"]["panels"]) for block in more]
    assert panels == [len(script.curves()), len(script.bars())]


def test_report_without_its_library_names_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert script.main(["team/fpinv"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "pip install wandb-workspaces" in message


@pytest.mark.parametrize("project", ["fpinv", "team/", "/fpinv"])
def test_project_without_its_team_is_refused(project: str, capsys: pytest.CaptureFixture[str]):
    assert script.main([project]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "<team or user>/<project>" in message
