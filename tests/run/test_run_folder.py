"""The files of a run: whole, strict JSON, and fit to go on after a kill."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fpinv.inversion import Inversion
from fpinv.run.files import read_json
from fpinv.run.folder import RunFolder
from fpinv.tasks.record import Record, finite, metrics_of
from fpinv.tasks.saved_inversions import entries_of


def record(id: str, psnr: float | None = 20.0, **more: object) -> Record:
    return Record(id, f"prompt of {id}", {"psnr": psnr}, **more)  # type: ignore[arg-type]


def lines(folder: RunFolder) -> list[dict]:
    """Return the lines of metrics.jsonl without their checksums."""
    rows = [json.loads(line) for line in folder.lines.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "crc32"} for row in rows]


def test_a_line_is_flat_and_names_its_pictures(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    image = Image.new("RGB", (4, 4), "red")
    folder.append(record("a", series={"residual": [0.5, 0.25]}, images={"original": image}))
    assert lines(folder) == [
        {
            "id": "a",
            "prompt": "prompt of a",
            "error": None,
            "psnr": 20.0,
            "series": {"residual": [0.5, 0.25]},
            "images": ["original"],
        }
    ]
    assert Image.open(folder.picture("a", "original")).getpixel((0, 0)) == (255, 0, 0)


def test_json_has_null_for_non_finite_numbers(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(record("a", math.inf, series={"residual": [math.nan, 1.0]}))
    folder.append(record("b", 10.0))
    summary = folder.summarise({}, total=2)
    assert lines(folder)[0]["psnr"] is None and lines(folder)[0]["series"]["residual"][0] is None
    assert summary["psnr"]["mean"] == 10.0
    assert read_json(tmp_path / "summary.json") == summary


def test_finite_replaces_non_finite_numbers_alone():
    value = {"a": [1, -math.inf, "x"], "b": {"c": math.nan, "d": True}}
    assert finite(value) == {"a": [1, None, "x"], "b": {"c": None, "d": True}}


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_a_half_written_last_line_is_dropped(tmp_path: Path, length: int):
    folder = RunFolder(tmp_path)
    folder.append(record("a"))
    whole = folder.lines.read_bytes()
    folder.append(record("ü"))
    folder.lines.write_bytes(folder.lines.read_bytes()[: len(whole) + length])
    again = RunFolder(tmp_path)
    assert [row["id"] for row in again.finished] == ["a"] and folder.lines.read_bytes() == whole
    again.append(record("ü"))
    assert [row["id"] for row in lines(again)] == ["a", "ü"]


def test_a_last_line_without_newline_is_kept(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(record("a"))
    folder.lines.write_bytes(folder.lines.read_bytes().rstrip())
    RunFolder(tmp_path).append(record("b"))
    assert [row["id"] for row in lines(folder)] == ["a", "b"]


@pytest.mark.parametrize(
    "damage", ['"psnr": 1' + "0" * 400, '"psnr": "20"', '"psnr": ' + "[" * 10**5, '"id": 3']
)
def test_a_line_that_is_no_record_is_dropped(tmp_path: Path, damage: str):
    folder = RunFolder(tmp_path)
    folder.append(record("a"))
    folder.append(record("b"))
    whole, line = folder.lines.read_text().splitlines()
    key = damage.partition(":")[0]
    old = next(part for part in line.split(", ") if key in part).strip("{}")
    folder.lines.write_text(f"{whole}\n{line.replace(old, damage)}\n")
    again = RunFolder(tmp_path)
    assert [row["id"] for row in again.rows] == ["a"]
    assert again.summarise({}, total=2)["n"] == 1


def test_failed_examples_are_done_again(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(Record("a", "", error="broken"))
    folder.append(record("b"))
    assert folder.summarise({}, total=2)["failed"] == 1
    again = RunFolder(tmp_path)
    assert [row["id"] for row in again.finished] == ["b"] and not again.failed
    again.append(record("a"))
    summary = again.summarise({}, total=2)
    assert (summary["n"], summary["failed"], summary["total"]) == (2, 0, 2)


def test_a_summary_has_means_with_intervals_and_nulls(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for id, psnr in {"a": 10.0, "b": 12.0, "c": None}.items():
        folder.append(Record(id, "", {"psnr": psnr, "residual": None}))
    summary = folder.summarise({"seed": 3}, total=3)
    assert list(summary) == ["seed", "n", "failed", "total", "psnr", "residual"]
    assert summary["psnr"]["mean"] == 11.0 and summary["psnr"]["ci95"] > 0
    assert summary["residual"] is None


def test_seconds_of_one_batch_have_no_interval(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for id, seconds in {"a": 0.5, "b": 0.5, "c": 0.5}.items():
        folder.append(Record(id, "", {"seconds_per_image": seconds, "psnr": 20.0}))
    summary = folder.summarise({}, total=4)
    assert summary["seconds_per_image"] == {"mean": 0.5, "ci95": None}
    assert summary["psnr"] == {"mean": 20.0, "ci95": 0.0}
    folder.append(Record("d", "", {"seconds_per_image": 0.9}))
    assert folder.summarise({}, total=4)["seconds_per_image"]["ci95"] > 1


def test_opening_and_summarising_hold_no_lines_in_memory(tmp_path: Path):
    row = record("0", series={"residual": [0.1] * 2000}).row()
    text = "".join(json.dumps(row | {"id": str(k)}) + "\n" for k in range(1000))
    (tmp_path / "metrics.jsonl").write_text(text)
    folder = RunFolder(tmp_path)  # imports come before the measurement
    folder.summarise({}, total=1000)
    tracemalloc.start()
    folder = RunFolder(tmp_path)
    assert folder.summarise({}, total=1000)["n"] == 1000
    assert sum(1 for _ in folder.rows) == 1000
    assert tracemalloc.get_traced_memory()[1] < len(text) / 10
    tracemalloc.stop()


def test_lines_are_rewritten_only_where_they_change(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for id in "abc":
        folder.append(record(id))
    before = folder.lines.stat().st_ino
    folder.arrange("abc")
    assert RunFolder(tmp_path).rows.ids == list("abc") and folder.lines.stat().st_ino == before
    folder.arrange("cab")
    folder.append(record("d"))
    assert [row["id"] for row in lines(folder)] == folder.rows.ids == list("cabd")
    assert [row["id"] for row in folder.rows] == list("cabd") and folder.rows[1]["id"] == "a"


def test_the_last_line_of_an_example_counts_in_the_place_of_its_first(tmp_path: Path):
    rows = [record("a", 1.0).row(), record("b", 2.0).row(), record("a", 3.0).row()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = RunFolder(tmp_path)
    assert [(r["id"], r["psnr"]) for r in folder.rows] == [("a", 3.0), ("b", 2.0)]
    assert lines(folder) == list(folder.rows)


def test_no_partial_file_is_left(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(record("a", images={"original": Image.new("RGB", (2, 2))}))
    folder.summarise({}, total=1)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_ids_stay_inside_the_folder(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    assert folder.picture("../../a", "x").resolve().is_relative_to(tmp_path / "run" / "images")
    assert folder.picture("a/b", "x") != folder.picture("a_b", "x")


def test_a_metric_with_the_name_of_a_field_is_refused():
    with pytest.raises(ValueError, match="images"):
        Record("a", "", {"images": 1.0})


def test_arrays_of_finished_examples_come_back_in_order(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for k, id in enumerate(["b/1", "a"]):
        folder.append(record(id, arrays={"real": torch.full((2, 3), float(k))}))
    folder.append(record("none"))
    folder.append(Record("failed", "p", error="broken", arrays={"real": torch.zeros(1)}))
    arrays = RunFolder(tmp_path).arrays()
    assert [float(tensors["real"].mean()) for tensors in arrays] == [0, 1]


def test_pooled_measures_are_part_of_the_summary(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(record("a"))
    summary = folder.summarise({}, 1, pooled={"fid": {"mean": 2.0, "ci95": None}, "features": "x"})
    assert summary["fid"] == {"mean": 2.0, "ci95": None} and summary["features"] == "x"


def test_texts_are_kept_and_are_no_metrics(tmp_path: Path):
    folder = RunFolder(tmp_path)
    row = folder.append(record("a", texts={"target": "a blue star"}))
    assert row["texts"] == {"target": "a blue star"} and metrics_of(row) == {"psnr": 20.0}
    assert "texts" not in folder.append(record("b"))
    assert [r["id"] for r in RunFolder(tmp_path).rows] == ["a", "b"]
    with pytest.raises(ValueError, match="texts"):
        Record("c", "p", {"texts": 1.0})


def test_records_of_one_image_share_its_inversion(tmp_path: Path):
    folder = RunFolder(tmp_path)
    inversion = Inversion(torch.zeros(1, 1, 2, 2), torch.ones(1), torch.ones(1))
    for id in ("x--0", "x--1"):
        shared = record(id, inversion=inversion, image="x")
        folder.append(shared, entries=entries_of(shared, {"steps": 3}))
    assert [file.name for file in (tmp_path / "inversions").iterdir()] == ["x.safetensors"]
    entries = Inversion.load(folder.inversion("x"))[1]
    assert (entries["id"], entries["steps"]) == ("x", 3)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.9, 0.97])
def test_a_line_with_a_flipped_bit_is_dropped_alone(tmp_path: Path, place: float):
    folder = RunFolder(tmp_path)
    for id in "abc":
        folder.append(record(id, 20.123456789))
    content = bytearray(folder.lines.read_bytes())
    first = content.index(b"\n")
    content[int(place * first)] ^= 1
    folder.lines.write_bytes(content)
    assert [row["id"] for row in RunFolder(tmp_path).rows] == ["b", "c"]


def test_lines_of_versions_without_checksums_are_read(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(record("a"))
    row = lines(folder)[0]
    folder.lines.write_text(json.dumps(row) + "\n")
    assert list(RunFolder(tmp_path).rows) == [row]


@pytest.mark.parametrize(
    "prompt", ["a", 'it says "b", "series": {"c": 1}', 'd, "crc32": "0', "é\n"]
)
def test_the_head_of_a_line_is_that_of_its_record(tmp_path: Path, prompt: str):
    record = Record("one", prompt, {"psnr": 20.5, "gap": None}, {"residual": [0.1, 0.2]})
    folder = RunFolder(tmp_path)
    folder.append(record)
    folder.append(replace(record, id="two", error='broke at "series": '))
    for head, row in zip(folder.rows.heads(), folder.rows, strict=True):
        assert head.items() <= row.items() and "series" not in head
        assert metrics_of(head) == metrics_of(row) == {"psnr": 20.5, "gap": None}
        assert {"id", "prompt", "error"} <= head.keys()
    again = RunFolder(tmp_path)
    assert again.rows.ids == ["one"] and list(again.rows) == [folder.rows[0]]


def test_a_metric_that_only_later_examples_have_is_summarised_over_those(tmp_path: Path):
    folder = RunFolder(tmp_path)
    folder.append(Record("one", "a star", {"psnr": 20.0}))
    folder.append(Record("two", "a star", {"psnr": 30.0, "gap": 1.0}))
    folder.append(Record("three", "a star", {"gap": 3.0}))
    summary = folder.summarise({}, 3)
    assert [summary[name]["mean"] for name in ("psnr", "gap")] == [25.0, 2.0]
    assert list(summary)[-2:] == ["psnr", "gap"]


@pytest.mark.parametrize("damage", [("20.5", "99.5"), ('"crc32": "', '"crc32": "z')])
def test_damage_of_a_checksum_itself_is_noticed(tmp_path: Path, damage: tuple[str, str]):
    folder = RunFolder(tmp_path)
    folder.append(Record("one", "a star", {"psnr": 20.5}, {"residual": [0.1, 0.2]}))
    folder.lines.write_text(folder.lines.read_text().replace(*damage))
    assert not RunFolder(tmp_path).rows


def test_damage_behind_the_head_of_a_line_is_noticed(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for id in ("one", "two"):
        folder.append(Record(id, "a star", {"psnr": 20.5}, {"residual": [0.1, 0.2]}))
    text = folder.lines.read_text()
    folder.lines.write_text(text.replace("0.2", "0.3", 1))
    assert RunFolder(tmp_path).rows.ids == ["two"]
