"""Folders, files and tables that people write: csv or jsonl comes in, checked rows go out.

Every fault is a :class:`~fpinv.errors.UserError` that names the file and, in a table, the line.
"""
