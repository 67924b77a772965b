"""The one exception that means: the user can fix this, and the message says how."""


class UserError(Exception):
    """Wrong input, configuration or environment. The CLI prints the message alone and exits with 2."""
