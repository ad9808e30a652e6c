"""The error tree of the engine.

Every error that a user can cause derives from `LiteSamError` and also from the builtin that a
caller would expect to catch. A message says what was got, what is needed and what to do.
"""

from __future__ import annotations


class LiteSamError(Exception):
    """Base of all errors that litesam raises on purpose."""


class ImageError(LiteSamError, ValueError):
    """The image cannot be used as it is: axes, dtype, size or values."""


class PromptError(LiteSamError, ValueError):
    """The prompts are empty, malformed or outside the image."""


class ConfigError(LiteSamError, ValueError):
    """A parameter is outside its allowed range."""


class UnknownModelError(LiteSamError, KeyError):
    """No model of that name is registered."""

    def __str__(self) -> str:
        # KeyError shows repr(args[0]); users should read the sentence itself.
        return str(self.args[0]) if self.args else ""


class WeightsError(LiteSamError):
    """A weights file is missing, damaged, unsafe or made for another model."""


class LicenceNotAccepted(WeightsError):  # noqa: N818  (a decision that is open, not a failure)
    """The licence of weights restricts their use and nobody has accepted it yet."""


class ModelMismatchError(LiteSamError, ValueError):
    """An embedding was made by another model or other weights than the predictor's."""


class SessionError(LiteSamError, ValueError):
    """A session cannot be replayed: what it speaks of is not there, or is another."""


class StoreError(LiteSamError, OSError):
    """The embedding store cannot be read or written."""


class ReadError(LiteSamError, OSError):
    """An input file is missing, damaged or of an unsupported format."""


class WriteError(LiteSamError, OSError):
    """A result cannot be written."""


class JobError(LiteSamError, RuntimeError):
    """A long job cannot begin or go on; what it has finished is kept."""


class Cancelled(LiteSamError):  # noqa: N818  (a decision of the user, not a failure)
    """The work was cancelled through its ``cancelled`` callback; what was finished is kept."""
