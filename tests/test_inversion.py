from dataclasses import dataclass, field, fields, replace

import pytest
import torch
import toy
from safetensors.torch import save_file

from fpinv.errors import UserError
from fpinv.inversion import Inversion, _digest
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.sampling import sample


@pytest.fixture
def inversion():
    inverted = FixedPoint(3, tolerance=1e-9).invert(toy.denoiser(), toy.latents(), toy.condition())
    state = {"coupled": toy.latents(seed=5), "maps": torch.randn(3, 10, *toy.SHAPE)}
    return replace(inverted, state=state)


def test_save_and_load_are_inverse(inversion, tmp_path):
    path = tmp_path / "deep" / "inversion.safetensors"
    digest = inversion.save(path, {"steps": 10, "prompt": ["a", "b"]})
    loaded, config = Inversion.load(path)
    assert config == {"steps": 10, "prompt": ["a", "b"]} and len(digest) == 64
    for name in ("noise", "calls", "rows", "residual", "iterations", "converged", "trace"):
        assert torch.equal(getattr(loaded, name), getattr(inversion, name))
    assert all(torch.equal(loaded.state[k], inversion.state[k]) for k in inversion.state)


def test_embeddings_of_half_precision_and_sources_are_kept(inversion, tmp_path):
    state = {"null": torch.randn(3, 2).bfloat16(), "tokens": torch.randn(3, 2).half()}
    mixed = replace(inversion, state=state, source=torch.tensor([True, False, False]))
    mixed.save(tmp_path / "a", {})
    loaded, _ = Inversion.load(tmp_path / "a")
    assert all(torch.equal(loaded.state[k], state[k]) for k in state)
    assert loaded.source.tolist() == [True, False, False]
    assert loaded[1:].source.tolist() == [False, False]


def test_content_hash_depends_on_tensors_and_config(inversion, tmp_path):
    path = tmp_path / "a"
    digest = inversion.save(path, {"w": 1})
    assert inversion.save(path, {"w": 1}) == digest
    assert inversion.save(path, {"w": 2}) != digest
    assert inversion[:2].save(path, {"w": 1}) != digest


def test_altered_or_foreign_files_are_refused(inversion, tmp_path):
    path = tmp_path / "a.safetensors"
    inversion.save(path, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="altered"):
        Inversion.load(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="a.safetensors"):
        Inversion.load(path)
    with pytest.raises(UserError, match="no such"):
        Inversion.load(tmp_path / "b")


@pytest.mark.parametrize("config", ["{}", "[" * 100_000])
def test_a_file_with_unknown_tensors_is_refused(tmp_path, config):
    tensors = {"noise": torch.zeros(1), "unheard_of": torch.ones(1)}
    metadata = {"config": config, "sha256": _digest(tensors, config)}
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=r"x\.safetensors: not an inversion of this version"):
        Inversion.load(tmp_path / "x.safetensors")


def test_stored_numbers_counts_state_beyond_the_noise(inversion):
    assert inversion.stored_numbers == 16 + 160
    assert FixedPoint(1).invert(toy.denoiser(), toy.latents(), toy.condition()).stored_numbers == 0


def test_rows_of_an_inversion(inversion):
    rows = inversion[torch.tensor([2, 0])]
    assert torch.equal(rows.noise, inversion.noise[[2, 0]])
    assert torch.equal(rows.residual, inversion.residual[:, [2, 0]])
    assert torch.equal(rows.trace, inversion.trace[..., [2, 0]])
    assert torch.equal(rows.state["maps"], inversion.state["maps"][[2, 0]])


def test_sampling_may_stop_and_start_anywhere():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition()
    halfway = sample(d, z, c, stop=4)
    assert torch.equal(sample(d, halfway, c, start=4), sample(d, z, c))


def test_inversions_are_joined_as_they_were_parted(inversion):
    whole = Inversion.cat([inversion[:2], inversion[2:]])
    for name in ("noise", "calls", "rows", "residual", "iterations", "converged", "trace"):
        assert torch.equal(getattr(whole, name), getattr(inversion, name))
    assert all(torch.equal(whole.state[k], inversion.state[k]) for k in inversion.state)
    bare = Inversion(inversion.noise, inversion.calls, inversion.rows)
    assert Inversion.cat([bare, bare]).residual is None


def test_rows_and_joining_go_by_the_batch_axis_of_every_field(inversion):
    @dataclass(frozen=True)
    class Weighted(Inversion):
        weights: torch.Tensor | None = field(default=None, metadata={"batch_axis": 1})

    values = {f.name: getattr(inversion, f.name) for f in fields(Inversion)}
    weighted = Weighted(**values, weights=torch.randn(2, 3, 4))
    rows = torch.tensor([2, 0])
    assert torch.equal(weighted[rows].weights, weighted.weights[:, rows])
    joined = Inversion.cat([weighted[:1], weighted[1:]])
    assert torch.equal(joined.weights, weighted.weights)


def test_content_hash_is_that_of_files_saved_by_version_one(tmp_path):
    calls, rows = torch.ones(2), torch.ones(2)
    inversion = Inversion(
        torch.zeros(2, 1, 2, 2),
        calls,
        rows,
        residual=torch.zeros(3, 2),
        state={"coupled": torch.ones(2, 1, 2, 2)},
        trace=torch.zeros(1, 3, 2),
    )
    digest = inversion.save(tmp_path / "inversion.safetensors", {"steps": 3})
    assert digest == "17f35d6731d5cbae1bd2a5c5499c73a533766d206741a49af9fef46e1196c270"


def test_sampling_goes_on_with_what_the_hook_returns():
    indices = []

    def clear_the_end(z, i):
        indices.append(i)
        return torch.zeros_like(z) if i == 0 else z

    z = sample(toy.denoiser(4), toy.latents(), toy.condition(), on_step=clear_the_end)
    assert (z == 0).all()
    assert indices == [3, 2, 1, 0]
