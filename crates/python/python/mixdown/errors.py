"""The exceptions of mixdown: one family, each also a subclass of the matching built-in exception."""


class MixdownError(Exception):
    """The base of all errors of mixdown. A message names the path, the place, what was expected and what was found."""


class ConfigurationError(MixdownError, ValueError):
    """Arguments, options or descriptions that cannot be used as they are."""


class DataError(MixdownError, ValueError):
    """Files that are damaged, of another version, or do not fit together."""


class NotFoundError(MixdownError, FileNotFoundError):
    """A file or folder that is not there."""


class SystemFailure(MixdownError, OSError):
    """A read or write that the system refused."""


class OrderWarning(UserWarning):
    """Samples are taken in another order than the mixture's, or a second time, so its shares no longer hold."""
