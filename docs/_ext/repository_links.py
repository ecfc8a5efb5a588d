"""Links from a page to files of the repository outside docs/, which Sphinx does not know.

On the repository's web pages they work as they are. In the built pages a link to a table of results or to a
script becomes a download of that file.
"""
