"""From the records of finished runs to tables, pictures and pages.

``experiment`` reads the jobs of sweeps and hands them to the script of an experiment, which makes
its results of ``tables``, ``figures`` and ``grid`` (pictures with their labels, which runs draw
too); ``page`` shows results and runs in a browser. Nothing here runs a model.
"""
