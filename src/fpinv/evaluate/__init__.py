"""Scores of pictures that are there already, whoever made them.

``python -m fpinv.evaluate`` takes a folder of edited images and a benchmark's own folder, and
prints a table; no model is loaded. :mod:`~fpinv.evaluate.pie_bench` is the referee of PIE-Bench.
"""
