import math

import pytest
import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.solvers import (
    Anderson,
    Averaged,
    FixedPointIteration,
    LeastSquares,
    Plain,
    Solution,
    per_sample,
    rms,
)

torch.manual_seed(0)
Q = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
RATES = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


class Affine:
    """x = rate R x + b with R orthogonal-symmetric: three samples that contract differently."""

    def __init__(self, rates=RATES):
        self.rates = rates
        self.b = torch.randn(len(rates), 12, dtype=torch.float64)
        self.matrix = Q @ torch.diag(torch.linspace(-1, 1, 12, dtype=torch.float64)) @ Q.T
        self.evaluated = []

    def __call__(self, x, rows):
        self.evaluated.append(len(x))
        rates, b = (self.rates, self.b) if rows is None else (self.rates[rows], self.b[rows])
        return per_sample(rates, x) * (x @ self.matrix) + b

    @property
    def start(self):
        return torch.zeros_like(self.b)

    @property
    def scale(self):
        return rms(self.b)

    @property
    def solution(self):
        eye = torch.eye(12, dtype=torch.float64)
        return torch.stack(
            [
                torch.linalg.solve(eye - r * self.matrix, b)
                for r, b in zip(self.rates, self.b, strict=True)
            ]
        )


ACCELERATIONS = [Plain(), Plain(damping=0.3), Averaged(), Anderson(), Anderson(window=6)]


@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=repr)
def test_converges_to_the_fixed_point(acceleration):
    g = Affine()
    solution = FixedPointIteration(1000, 1e-13, acceleration)(g, g.start, g.scale)
    assert solution.converged.all()
    assert torch.allclose(solution.value, g.solution, atol=1e-10)
    assert (solution.residual <= 1e-13).all()


def test_plain_iteration_contracts_at_the_rate_of_each_sample():
    g = Affine()
    at = [FixedPointIteration(k)(g, g.start, g.scale).residual for k in (40, 41)]
    assert torch.allclose(at[1][1:] / at[0][1:], RATES[1:], rtol=1e-3)


@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=repr)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_fixed_count_costs_exactly_k_evaluations(acceleration, k):
    g = Affine()
    solution = FixedPointIteration(k, None, acceleration)(g, g.start, g.scale)
    assert g.evaluated == [3] * k and (solution.steps == k).all() and solution.converged is None


def test_fixed_count_of_plain_iteration_is_g_applied_k_times():
    g, x = Affine(), Affine().start
    for _ in range(4):
        before, x = x, g(x, None)
    solution = FixedPointIteration(4)(g, g.start, g.scale)
    assert torch.equal(solution.value, x)
    assert torch.equal(solution.residual, rms(before - x) / g.scale)


def tabulated(*tables):
    """Return g of samples of one number each, from a table of points and images a sample."""

    def g(x, rows):
        points = x.flatten().tolist()
        return x.new_tensor([[t[p]] for t, p in zip(tables, points, strict=True)])

    return g


def test_a_damped_iterate_lies_between_the_point_and_its_image():
    g = tabulated({0.0: 10.0, 7.0: 17.0})
    start = torch.zeros(1, 1, dtype=torch.float64)
    for k, value in ((1, 7.0), (2, 14.0)):
        solution = FixedPointIteration(k, None, Plain(damping=0.3))(g, start, torch.ones(1))
        assert solution.value.item() == pytest.approx(value)


def test_an_averaged_iterate_is_the_mean_of_the_last_two_images():
    start = torch.zeros(1, 1, dtype=torch.float64)
    for k, value in ((1, 1.0), (2, 1.25), (3, 1.5625)):
        solution = FixedPointIteration(k, None, Averaged())(
            lambda x, rows: 1 + x / 2, start, torch.ones(1)
        )
        assert solution.value.item() == value


def test_an_accelerated_iterate_is_the_value_where_its_last_point_has_the_least_residual():
    """Elsewhere it is g of the point that has. Both samples come to 0, 4 and 4.5."""
    g = tabulated({0.0: 4.0, 4.0: 5.0, 4.5: 4.75}, {0.0: 4.0, 4.0: 5.0, 4.5: 9.0})
    start, scale = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    for tolerance in (None, 1e-9):
        solution = FixedPointIteration(3, tolerance, Averaged())(g, start, scale)
        assert solution.value.flatten().tolist() == [4.875, 5.0]
        assert solution.residual.tolist() == [0.25, 1.0]


def test_converged_samples_leave_the_batch():
    g = Affine()
    solution = FixedPointIteration(200, 1e-6)(g, g.start, g.scale)
    assert (solution.steps[:-1] < solution.steps[1:]).all()
    assert sum(g.evaluated) == solution.steps.sum()
    assert g.evaluated[0] == 3 and g.evaluated[-1] == 1


@pytest.mark.parametrize("acceleration", ACCELERATIONS, ids=repr)
@pytest.mark.parametrize("tolerance", [None, 1e-6])
def test_batch_equals_samples_alone(acceleration, tolerance):
    g = Affine()
    solver = FixedPointIteration(8, tolerance, acceleration)
    together = solver(g, g.start, g.scale)
    for k in range(3):
        alone = Affine(RATES[k : k + 1])
        alone.b, alone.matrix = g.b[k : k + 1], g.matrix
        single = solver(alone, alone.start, alone.scale)
        assert torch.allclose(single.value, together.value[k : k + 1], atol=1e-13)
        assert single.steps == together.steps[k]


def test_anderson_with_window_one_is_plain():
    g = Affine()
    a = FixedPointIteration(7, None, Anderson(window=1))(g, g.start, g.scale)
    b = FixedPointIteration(7)(g, g.start, g.scale)
    assert torch.equal(a.value, b.value)


def test_anderson_solves_a_linear_problem_in_as_many_steps_as_it_has_eigenvalues():
    g = Affine()
    g.matrix = Q @ torch.diag(torch.tensor([1.0, -1.0, 0.5] * 4, dtype=torch.float64)) @ Q.T
    solution = FixedPointIteration(5, None, Anderson(5, 1e-14))(g, g.start, g.scale)
    assert torch.allclose(solution.value, g.solution, atol=1e-8)


def test_anderson_converges_where_plain_iteration_diverges():
    g = Affine(torch.full((3,), 1.7, dtype=torch.float64))
    g.matrix = Q @ torch.diag(torch.tensor([-1.0, 0.2, -0.4] * 4, dtype=torch.float64)) @ Q.T
    plain = FixedPointIteration(30, 1e-8)(g, g.start, g.scale)
    anderson = FixedPointIteration(30, 1e-8, Anderson(4))(g, g.start, g.scale)
    assert not plain.converged.any() and anderson.converged.all()


def test_divergence_keeps_the_point_of_least_residual():
    g = Affine(torch.full((2,), 3.0, dtype=torch.float64))
    solution = FixedPointIteration(12, 1e-9)(g, g.start, g.scale)
    residual = rms(g.start - g(g.start, None)) / g.scale
    assert not solution.converged.any()
    assert (solution.residual <= residual).all()
    assert torch.equal(solution.value, g(g.start, None))


@pytest.mark.parametrize(("tolerance", "kept"), [(None, 9), (1e-9, 3)])
def test_non_finite_is_never_success(tolerance, kept):
    """Kept is the last iterate, or with a tolerance that of the point of least residual."""

    def g(x, rows):
        return torch.where(x.abs() > 5, math.nan, 3 * x)

    start = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    solution = FixedPointIteration(6, tolerance)(g, start, torch.ones(2, dtype=torch.float64))
    assert solution.value.flatten().tolist() == [kept, 0]
    assert tolerance is None or solution.converged.tolist() == [False, True]


@pytest.mark.parametrize("tolerance", [None, 1e-9])
def test_non_finite_from_the_start_returns_the_start(tolerance):
    start = torch.ones(2, 3, dtype=torch.float64)
    solution = FixedPointIteration(3, tolerance)(
        lambda x, rows: x * math.nan, start, torch.ones(2, dtype=torch.float64)
    )
    assert torch.equal(solution.value, start)
    assert tolerance is None or not solution.converged.any()
    assert solution.residual.isinf().all()


def test_the_trace_has_the_residual_of_every_evaluated_point():
    g = Affine()
    whole = FixedPointIteration(6)(g, g.start, g.scale)
    for k in range(1, 7):
        cut = FixedPointIteration(k)(g, g.start, g.scale)
        assert torch.equal(cut.trace, whole.trace[:k])
        assert torch.equal(cut.residual, whole.trace[k - 1])
    stopped = FixedPointIteration(6, tolerance=0.05)(g, g.start, g.scale)
    evaluated = torch.arange(6)[:, None] < stopped.steps
    assert torch.equal(stopped.trace.isfinite(), evaluated)
    assert torch.allclose(stopped.trace[evaluated], whole.trace[evaluated], atol=1e-12)


def test_residual_is_undamped():
    g = Affine()
    damped = FixedPointIteration(1, None, Plain(damping=0.5))(g, g.start, g.scale)
    assert torch.allclose(damped.residual, rms(g.start - g(g.start, None)) / g.scale)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FixedPointIteration(0),
        lambda: FixedPointIteration(3, 0.0),
        lambda: FixedPointIteration(3, math.nan),
        lambda: Plain(damping=1),
        lambda: Anderson(window=0),
    ],
)
def test_refuses_impossible_settings(wrong):
    with pytest.raises(UserError, match="not possible"):
        wrong()


def linear(singular: float) -> tuple[Tensor, Tensor]:
    """Matrices (3, 6, 6) and right sides (3, 6); the last singular value is given."""
    g = torch.Generator().manual_seed(3)
    u, _, v = torch.linalg.svd(torch.randn(3, 6, 6, generator=g, dtype=torch.float64))
    values = torch.tensor([2.0, 1.5, 1.0, 0.8, 0.5, singular], dtype=torch.float64)
    return u @ torch.diag(values) @ v, torch.randn(3, 6, generator=g, dtype=torch.float64)


def least_squares(matrix: Tensor, right: Tensor, **settings: int) -> Solution:
    """Minimises ``|matrix x - right|``."""

    def f(x: Tensor, rows: Tensor | None) -> Tensor:
        a, b = (matrix, right) if rows is None else (matrix[rows], right[rows])
        return torch.einsum("bij,bj->bi", a, x) - b

    tolerance = torch.full((len(right),), 1e-10, dtype=torch.float64)
    return LeastSquares(**settings)(f, torch.zeros_like(right), tolerance)


def test_least_squares_solves_what_has_a_solution():
    matrix, right = linear(0.4)
    solution = least_squares(matrix, right, iterations=200)
    assert solution.converged.all() and (solution.steps < 200).all()
    expected = torch.linalg.solve(matrix, right)
    assert torch.allclose(solution.value, expected, atol=1e-8)


def test_least_squares_finds_the_least_residual_of_what_has_none():
    matrix, right = linear(0.0)
    solution = least_squares(matrix, right, iterations=200)
    best = matrix @ (torch.linalg.pinv(matrix, rtol=1e-8) @ right.unsqueeze(-1))
    expected = rms(best.squeeze(-1) - right)
    assert not solution.converged.any() and (expected > 0.01).all()
    assert torch.allclose(solution.residual, expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_least_squares_takes_as_long_whatever_the_units_of_the_residual(unit):
    matrix, right = linear(0.4)
    plain = least_squares(matrix, right, iterations=12)
    scaled = least_squares(unit * matrix, unit * right, iterations=12)
    assert torch.allclose(plain.value, scaled.value, rtol=1e-6)
    assert torch.allclose(unit * plain.residual, scaled.residual, rtol=1e-6)


def test_least_squares_treats_each_sample_alone():
    matrix, right = linear(0.1)
    together = least_squares(matrix, right, iterations=30)
    for k in range(3):
        alone = least_squares(matrix[k : k + 1], right[k : k + 1], iterations=30)
        assert torch.allclose(alone.value, together.value[k : k + 1], rtol=1e-9, atol=1e-12)
        assert alone.steps == together.steps[k]


def test_least_squares_with_a_careful_first_step_stays_in_the_basin_of_its_start():
    """It has a minimum at -acos(-0.15); further left the residual crosses zero."""

    def f(x: Tensor, rows: Tensor | None) -> Tensor:
        return x.sin() + 2 + 0.15 * x

    start = torch.linspace(-1.6, -1.0, 12, dtype=torch.float64).unsqueeze(1)
    none = torch.zeros(12, dtype=torch.float64)
    careful, bold = (
        LeastSquares(60, first_length=length)(f, start, none) for length in (0.1, 1.0)
    )
    assert torch.allclose(careful.value, torch.full_like(start, -math.acos(-0.15)), atol=1e-3)
    assert (bold.value < -4).any()


def test_least_squares_keeps_a_start_from_which_nothing_is_finite():
    start = torch.ones(2, 4, dtype=torch.float64)
    solution = LeastSquares(5)(lambda x, rows: x * math.nan, start, torch.zeros_like(start[:, 0]))
    assert torch.equal(solution.value, start) and not solution.converged.any()
    with pytest.raises(UserError, match="iterations=0"):
        LeastSquares(0)
    with pytest.raises(UserError, match="first_length=0.01"):
        LeastSquares(first_length=0.01)


def test_the_residual_of_the_value_is_foretold_or_known():
    start, scale = torch.ones(3, 4, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    rates = torch.tensor([[0.0], [0.1], [-0.5]], dtype=torch.float64)
    remaining = FixedPointIteration(3)(lambda x, rows: rates[rows] * x, start, scale).remaining
    assert torch.allclose(remaining, torch.tensor([0.0, 0.9e-3, 1.5 * 0.125]).double())
    diverging = FixedPointIteration(4, 1e-9)(lambda x, rows: -2 * x, start, scale)
    assert torch.allclose(diverging.remaining, 6 * scale), "g of the start, which was evaluated"
    overflowing = FixedPointIteration(3)(lambda x, rows: x / 0, start, scale)
    assert overflowing.remaining.isinf().all()
    assert FixedPointIteration(1)(lambda x, rows: x, start, scale).remaining is None
