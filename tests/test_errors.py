"""The errors of scripts, in one line."""

import pytest

from fpinv.errors import UserError, command


@pytest.mark.parametrize(
    "error", [UserError("no such inverter"), FileExistsError(17, "File exists", "table.png")]
)
def test_a_script_prints_an_error_in_one_line_and_exits_with_2(capsys, error):
    @command
    def script():
        raise error

    assert script() == 2
    assert capsys.readouterr().err == f"error: {error}\n"
