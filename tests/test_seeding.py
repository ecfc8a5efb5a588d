import torch

from fpinv.seeding import drawn, generator, normal, numbers


def test_draws_depend_on_seed_id_and_purpose_alone():
    a = normal((4, 2, 2), 0, ["x", "y"], "noise", "cpu")
    assert torch.equal(a[1:], normal((4, 2, 2), 0, ["y"], "noise", "cpu"))
    for draw in (normal((4, 2, 2), 1, ["x"], "noise", "cpu"),
                  normal((4, 2, 2), 0, ["x"], "else", "cpu")):  # fmt: skip
        assert not torch.equal(a[:1], draw)


def test_keys_do_not_run_into_each_other():
    assert generator(1, "2a").initial_seed() != generator(12, "a").initial_seed()
    assert generator(0, "a", "b").initial_seed() != generator(0, "ab").initial_seed()


def test_draws_are_standard_normal():
    z = normal((4, 64, 64), 0, [str(i) for i in range(8)], "noise", "cpu")
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01


def test_an_image_draws_the_same_by_its_number_as_by_its_id_alone():
    z = torch.zeros(3, 4, 2, 2, dtype=torch.float64)
    images = numbers(["x", "y", "x"], "cpu")
    draws = drawn(z, 0, images, "noise")
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    assert torch.equal(drawn(z[1:2], 0, images[1:2], "noise"), draws[1:2])
    assert draws.dtype == z.dtype and draws.shape == z.shape
    assert not torch.equal(drawn(z, 1, images, "noise"), draws)
    shared = drawn(z, 0, None, "noise")
    assert torch.equal(shared[0], shared[1]) and not torch.equal(shared, draws)
