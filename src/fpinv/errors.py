"""The one exception that reaches a user as a line of text instead of a traceback."""


class UserError(Exception):
    """Something the user can mend: the message is one line naming the culprit and the remedy."""
