"""Loading weights: in silence, with a bounded wait, and in one line where it fails."""

import socket
import warnings

import pytest
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging as transformers_logging

from fpinv.errors import UserError
from fpinv.models.weights import PATIENCE, by_hand, loading, quiet


def verbosity():
    libraries = (diffusers_logging, transformers_logging)
    return [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]


def test_quiet_hides_bars_and_warnings_and_restores_the_verbosity(recwarn):
    before = verbosity()
    with quiet():
        warnings.warn("of a library", stacklevel=1)
        assert verbosity() == [(diffusers_logging.ERROR, False)] * 2
        assert not are_progress_bars_disabled(), "downloads keep their bars"
    assert verbosity() == before
    assert not recwarn.list


def test_loading_bounds_the_wait_for_a_network():
    with loading("weights", "give up"):
        assert socket.getdefaulttimeout() == PATIENCE
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError("no route\nat all"), "no route"), (ValueError(), "ValueError")],
)
def test_loading_fails_in_one_line_with_the_remedy(error, reason):
    with pytest.raises(UserError) as caught, loading("the weights of x", "give a file"):
        raise error
    assert str(caught.value) == f"the weights of x cannot be loaded ({reason}); give a file"
    assert caught.value.__cause__ is error
    assert socket.getdefaulttimeout() is None


def test_loading_passes_on_a_user_error():
    with pytest.raises(UserError, match="^no such net$"), loading("weights", "give up"):
        raise UserError("no such net")


def test_weights_can_be_put_into_the_cache_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = "https://example.org/models/net-1234.pth?download=true"
    assert by_hand(url) == f"put {url} at {tmp_path}/hub/checkpoints/net-1234.pth"
