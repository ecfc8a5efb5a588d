"""Cells and blocks of the tables."""

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import Column, block, grounds, label, markdown, shared


def job(inverter="fpi", overrides=None, steps=50, guidance=1.0, dataset="scenes", **metrics):
    run = {"inverter": inverter, "steps": steps, "guidance": guidance, "dataset": dataset}
    run |= {"device": "cpu"}
    return Job(inverter, overrides or {}, run | {"n": 4, **metrics})


def test_cell_shows_the_first_measured_metric():
    column = Column("accuracy", ("a", "b"), 1, 100, absent="–")
    measured = {"mean": 0.25, "ci95": 0.0123}
    assert column.cell(job(a=measured)) == "25.0 ± 1.2"
    assert column.cell(job(a={"mean": None, "ci95": None}, b=measured)) == "25.0 ± 1.2"
    for half in (0.0, None):
        assert column.cell(job(a={"mean": 0.25, "ci95": half})) == "25.0"
    assert column.cell(job(a=None)) == column.cell(job()) == "–"
    assert Column("accuracy", ("a",), 1, interval=False).cell(job(a=measured)) == "0.2"
    assert Column("n", ("n",), 0).cell(job()) == "4"
    assert column.heading([job(b=measured)]) == "accuracy (b)"
    assert column.heading([job()]) == "accuracy"


def test_block_is_a_line_and_a_table():
    columns = [Column("n", ("n",), 0), Column("PSNR", ("psnr",), 2)]
    jobs = [job("ddim", psnr={"mean": 20, "ci95": 1}), job("fpi", {"inverter.iterations": "3"})]
    text = block("all", jobs, columns, lambda job: label(job, ["inverter.iterations"]))
    assert text.splitlines() == [
        "all",
        "",
        "| inverter | n | PSNR |",
        "|---|---:|---:|",
        "| ddim | 4 | 20.00 ± 1.00 |",
        "| fpi 3 | 4 |  |",
    ]
    assert markdown("abc", [], words=2).splitlines()[1] == "|---|---|---:|"


def test_rows_name_their_device_where_a_table_has_several():
    jobs, columns = [job("ddim"), job("fpi", device="cuda")], [Column("n", ("n",), 0)]
    assert shared(jobs) == "w = 1, N = 50, n = 4, scenes, cpu and cuda; ceiling  dB"
    assert shared(jobs[1:]) == "w = 1, N = 50, n = 4, scenes, cuda; ceiling  dB"
    assert block("", jobs, columns).splitlines()[-2:] == ["| ddim, cpu | 4 |", "| fpi, cuda | 4 |"]
    assert block("", jobs[1:], columns).splitlines()[-1] == "| fpi | 4 |"


def test_grounds_separate_grid_guidance_and_data_set():
    jobs = [job(steps=s, guidance=w) for s in (10, 50) for w in (3.0, 1.0)] + [job(guidance=3.0)]
    keys = [[(j.summary["steps"], j.summary["guidance"]) for j in g] for g in grounds(jobs)]
    assert keys == [[(50, 1.0)], [(50, 3.0)] * 2, [(10, 1.0)], [(10, 3.0)]]
    photographs = [job(dataset="coco"), job(), job(dataset="coco")]
    assert [len(group) for group in grounds(photographs)] == [2, 1]
