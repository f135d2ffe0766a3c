"""The one exception for what a user can put right."""


class UserError(Exception):
    """Bad input or a condition outside the program's control.

    The message is ONE line that names the option or file at fault and the remedy. Experiments print it on stderr
    without a traceback and exit with status 2; everything else that is raised is a bug and keeps its traceback.
    """
