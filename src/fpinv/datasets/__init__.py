"""Data sets: sequences of prompts with images, and where needed with edits or classes.

Files that the user names come in, or nothing for rendered scenes; examples go out, whose images
are opened or drawn when a task needs them. A data set knows no model, and every mistake in its
files is one line that names the file.
"""
