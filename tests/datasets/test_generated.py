"""Generated examples: another data set's captions, seeds of their own."""

from fpinv.datasets.example import Example
from fpinv.datasets.generated import Generated

SOURCE = [Example(f"{i:02d}", f"prompt {i}", attributes={"width": i}) for i in range(20)]


def test_prompts_and_names_stay_and_images_go() -> None:
    generated = Generated(SOURCE)
    assert len(generated) == 20
    assert [(e.id, e.prompt) for e in generated] == [(e.id, e.prompt) for e in SOURCE]
    assert all(e.image is None and e.seed is not None for e in generated)


def test_seeds_are_distinct_and_depend_on_the_name_alone() -> None:
    seeds = {e.id: e.seed for e in Generated(SOURCE)}
    assert len(set(seeds.values())) == 20
    assert {e.id: e.seed for e in Generated(SOURCE[::-1])} == seeds
    assert Generated(SOURCE[7:])[0].seed == seeds["07"]


def test_another_seed_is_another_draw() -> None:
    a, b = ({e.seed for e in Generated(SOURCE, seed)} for seed in (0, 1))
    assert not a & b
    assert all(0 <= seed < 2**31 for seed in a | b)
