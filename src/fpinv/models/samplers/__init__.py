"""The samplers: which steps go down a grid, and which diffusers scheduler takes the same ones.

A sampler is chosen with the model. It makes the stock scheduler of the model's pipeline and reads
the grid off it; the steps themselves are data of that grid (:class:`~fpinv.schedule.Schedule`), so
that whatever walks on it takes the steps of the sampler that was chosen.
"""

from fpinv.models.samplers.ddim import DDIMSampler
from fpinv.models.samplers.dpm import DPMSolver
from fpinv.models.samplers.euler import AncestralSampler, EulerSampler
from fpinv.models.samplers.lcm import LCMSampler
from fpinv.models.samplers.sampler import Sampler
from fpinv.models.samplers.spacing import SPACINGS, Spacing, choose_spacing, spacing_of

__all__ = [
    "SPACINGS",
    "AncestralSampler",
    "DDIMSampler",
    "DPMSolver",
    "EulerSampler",
    "LCMSampler",
    "Sampler",
    "Spacing",
    "choose_spacing",
    "spacing_of",
]
