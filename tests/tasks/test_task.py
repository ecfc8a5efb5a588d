"""The line about a guidance below 1."""

import pytest

from fpinv.tasks.task import weakness


@pytest.mark.parametrize("guidance", [0, 0.0, 0.5])
def test_a_guidance_that_others_read_as_1_has_a_line(guidance):
    line = (
        f"guidance={guidance} gives the null prompt a weight of {1 - guidance:g}: what diffusers"
    )
    assert str(weakness(guidance)).startswith(line)


@pytest.mark.parametrize("guidance", [1, 7.5, -1])
def test_other_guidances_have_none(guidance):
    assert weakness(guidance) is None
