"""Iterative methods, each sample of a batch on its own: an equation or a loss in, a solution out.

:mod:`~fpinv.solvers.search` owns the loop, and everything else supplies its step alone:
:mod:`~fpinv.solvers.fixed_point` iterates :math:`x = g(x)` with the help of
:mod:`~fpinv.solvers.accelerations`, :mod:`~fpinv.solvers.least_squares` minimises a residual that
has no root, and :mod:`~fpinv.solvers.adam` is the step of a loss. Inverters and seed searches
bring the equation, as a closure over the denoiser, and take back a
:class:`~fpinv.solvers.search.Solution`.
"""

from fpinv.solvers.accelerations import Acceleration as Acceleration
from fpinv.solvers.accelerations import Anderson as Anderson
from fpinv.solvers.accelerations import Averaged as Averaged
from fpinv.solvers.accelerations import Plain as Plain
from fpinv.solvers.adam import Adam as Adam
from fpinv.solvers.fixed_point import FixedPointIteration as FixedPointIteration
from fpinv.solvers.fixed_point import History as History
from fpinv.solvers.least_squares import LeastSquares as LeastSquares
from fpinv.solvers.search import Equation as Equation
from fpinv.solvers.search import Solution as Solution
from fpinv.solvers.search import Trial as Trial
from fpinv.solvers.search import per_sample as per_sample
from fpinv.solvers.search import rms as rms
from fpinv.solvers.search import search as search
