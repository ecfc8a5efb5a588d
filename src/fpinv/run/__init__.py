"""Runs: from a command line to the records of one run, or of all jobs of a sweep.

The command line and conf/ come in; a run folder goes out (its files: :mod:`fpinv.run.folder`), and
a view of it to W&B (:mod:`fpinv.run.tracking`). :mod:`~fpinv.run.main` hands the command line to
Hydra, which calls :mod:`~fpinv.run.job` once a job; that takes the configuration, its own or
the one that :mod:`~fpinv.run.resume` takes from the folder of a run to be continued
(:mod:`~fpinv.run.stored_config`). :mod:`~fpinv.run.measuring` does the run: it has
:mod:`~fpinv.run.build` make objects of the configuration, and writes to
:mod:`~fpinv.run.folder` in a thread (:mod:`~fpinv.run.writing`). After the last job,
:mod:`~fpinv.run.sweep` makes one table and one exit code of the folders, of which
:mod:`~fpinv.run.layout` knows whose they are; :mod:`~fpinv.run.preflight` has checked all jobs
of a sweep before the first. Where several processes share a run they meet in
:mod:`~fpinv.run.processes`.
"""
