"""A page in the browser on which to invert and edit one picture at a time.

:mod:`~fpinv.app.workbench` does the work and knows nothing of the browser;
:mod:`~fpinv.app.page` is the layout, made with gradio. ``python -m fpinv.app`` starts it.
"""
