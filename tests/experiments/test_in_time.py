"""The inversion of all steps at once."""

import pytest
import toy
from scripts import load

from fpinv.inverters.fixed_point import FixedPoint
from fpinv.solvers import Anderson


@pytest.fixture(scope="module")
def in_time():
    return load("studies/frontier/in_time")


@pytest.mark.parametrize("family", ["epsilon", "flow"])
def test_rounds_of_a_network_that_contracts_end_at_the_sequential_solution(in_time, family):
    d, z, c = toy.denoiser(12, family, scale=0.2), toy.latents(), toy.condition()
    solution = FixedPoint(100).invert(d, z, c).noise
    plain, mixed = (list(in_time.rounds(d, z, c, solution, Anderson(window))) for window in (1, 5))
    assert plain[-1] < 1e-6 < plain[1]
    assert mixed[5] < plain[5]


def test_the_command_prints_the_errors(in_time, capsys):
    arguments = ["--steps", "4", "--images", "1", "--windows", "1", "2", "--accuracy", "20"]
    assert in_time.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("round 4: " in line for line in lines)
