"""Marks in the noise of generated images, and what happens to an image before it is read.

A mark changes the noise z_N that an image is sampled from, and is read off the noise that an
inversion finds. :mod:`~fpinv.watermarks.marks` has the marks, :mod:`~fpinv.watermarks.attacks` the
changes of the image in between; the task :mod:`fpinv.tasks.watermark` joins them.
"""
