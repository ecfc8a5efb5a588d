r"""The inverters, one module a paper, and the adjustment of what they are given.

An inverter takes a :class:`~fpinv.denoiser.Denoiser`, image latents z_0 and a
:class:`~fpinv.denoiser.Condition`, and returns an :class:`~fpinv.inversion.Inversion`, which its
``sample`` turns back into z_0. An implicit inverter walks like this:

- :class:`~fpinv.inverters.fixed_point.FixedPoint` says which equation a step has and where its
  solution is sought from;
- :func:`~fpinv.inverters.implicit.ascend` goes up the grid and hands over one step after another;
- :class:`~fpinv.solvers.fixed_point.FixedPointIteration` makes a point of the equation out of the
  last, and :func:`~fpinv.solvers.search.search` repeats that for the samples which need it;
- :class:`~fpinv.denoiser.Denoiser` evaluates the network at each point, with guidance, and counts;
- :class:`~fpinv.schedule.Schedule` turns the output into the latents of the next point.
"""
