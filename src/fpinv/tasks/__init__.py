"""The tasks: reconstruction, editing, and images from seeds near those of inverted images.

A task takes a model, an inverter, examples of a data set and the run's
:class:`~fpinv.tasks.task.Settings`, and yields a :class:`~fpinv.tasks.record.Record` for every
example. It knows neither the configuration nor the run folder, so that it also runs on a list.
"""
