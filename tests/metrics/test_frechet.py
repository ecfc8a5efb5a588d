"""The Frechet distance against its closed form, its interval, and the choice of its features."""

import pytest
import torch
from judges import Brightness, spread

from fpinv.errors import UserError
from fpinv.metrics import frechet
from fpinv.metrics.frechet import (
    InceptionFeatures,
    diversity,
    features_of,
    fid,
    frechet_distance,
)


def test_distance_of_normal_laws_has_its_closed_form():
    """|mu|^2 + sum (s - 1)^2 for diagonal covariances, exact for the same draw shifted."""
    real = spread(4000, 6)
    real = (real - real.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(real.T.cov()).T)
    scales = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    expected = 6 * 0.3**2 + 1 + 0.25
    assert frechet_distance(real, real * scales + 0.3) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_interval_shrinks_with_the_number_of_examples():
    def interval(n):
        real = [spread(4, 5, seed=k) for k in range(n)]
        generated = [spread(3, 5, shift=0.5, seed=1000 + k) for k in range(n)]
        return fid(real, generated)

    few, many = interval(20), interval(200)
    assert many["ci95"] < 0.6 * few["ci95"]
    assert interval(20) == few
    assert abs(many["mean"] - 5 * 0.25) < 3 * many["ci95"] + 0.1


def test_few_pictures_have_no_distance_and_wide_features_no_interval():
    single = [spread(1, 4)]
    assert fid([], []) is None and fid(single, single) is None
    assert fid([spread(9, 4)], [spread(9, 4, seed=1)])["ci95"] is None
    wide = [spread(9, 300, seed=k) for k in range(2)]
    assert fid(wide, wide)["ci95"] is None


def test_diversity_is_the_mean_distance_of_pairs():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]])
    assert diversity(points) == pytest.approx((5 + 3 + 4) / 3)
    assert diversity(points[:1]) is None


def test_inception_is_given_whole_numbers_from_0_to_255():
    features = InceptionFeatures()
    features._network = torch.nn.Identity()
    levels = features(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert levels.dtype == torch.uint8 and levels.tolist() == [0, 0, 128, 255, 255]


def test_features_are_inceptions_if_its_weights_are_cached(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert features_of("auto", Brightness()).name == "brightness"
    file = frechet.cache_file(frechet._inception_url())
    file.parent.mkdir()
    file.touch()
    assert features_of("auto", Brightness()).name == "inception"
    assert features_of("classifier", Brightness()).name == "brightness"
    with pytest.raises(UserError, match="features=resnet is unknown"):
        features_of("resnet", Brightness())


def test_absent_inception_weights_are_refused_in_one_line(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", no_network
    )
    with pytest.raises(UserError, match="task.features=classifier") as error:
        InceptionFeatures()(torch.zeros(1, 3, 32, 32))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
