"""Errors meant for users: each says what is wrong, where, and how to fix it, and has an exit code.

The commands print one line:
`microgpt: error: <what> in <where>; <how to fix it>`, or `<what>: <where>` if it is the file that is missing. Imports
nothing.
"""

_MISSING = ("no such file", "no such folder", "no such file or folder")
"""What is wrong, where it is wrong with the place itself."""


class MicrogptError(Exception):
    """Base of every error meant for the user.

    Args:
        what: what is wrong, with the offending value.
        where: the file, knob or argument it was found in; may be empty.
        fix: what to do about it; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        joint = ": " if self.what in _MISSING else " in "
        text = f"{self.what}{joint}{self.where}" if self.where else self.what
        return f"{text}; {self.fix}" if self.fix else text


class UsageError(MicrogptError):
    """Wrong use: an argument, a knob, a combination that cannot work."""

    exit_code = 2


class DataError(MicrogptError):
    """The text is unusable: missing, empty, undecodable, too short, unknown characters."""

    exit_code = 3


class CheckpointError(MicrogptError):
    """A run, checkpoint or model folder is missing, damaged or belongs to another model."""

    exit_code = 4


class MachineError(MicrogptError):
    """The machine cannot do it: disk, device, cluster, missing package."""

    exit_code = 5


class NonFiniteError(MicrogptError):
    """The loss or the gradient is not finite."""

    exit_code = 6
