import torch

from fpinv.seeding import generator, normal


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
