"""Two exceptions that the command line knows: what the user can fix, and SIGTERM."""


class UserError(Exception):
    """Wrong input, configuration or environment. The CLI prints the message alone and exits with 2."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, and the CLI exits with 143 instead of 130."""
