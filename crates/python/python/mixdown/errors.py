"""The exceptions of mixdown: one family, and each also the built-in exception that fits."""


class MixdownError(Exception):
    """What every error of mixdown is. The message names path, place, expected and got."""


class ConfigurationError(MixdownError, ValueError):
    """Arguments, options or descriptions that cannot be used as they are."""


class DataError(MixdownError, ValueError):
    """Files that are damaged, of another version, or do not fit together."""


class NotFoundError(MixdownError, FileNotFoundError):
    """A file or folder that is not there."""


class SystemFailure(MixdownError, OSError):
    """A read or write that the system refused."""


class OrderWarning(UserWarning):
    """Samples are taken in another order than the mixture's, so its shares no longer hold."""
