"""The one error tree.

A message says what went wrong, which value, where, and how to mend it.
"""

from __future__ import annotations


class OpenSeekError(Exception):
    """Base of every error this library raises on purpose.

    Args:
        what: What went wrong, with the offending value.
        where: File, key, step or URL that it concerns.
        mend: What the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.mend}" if self.mend else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray, Prefect): keyword arguments need a hand.
        return (_rebuild, (type(self), self.what, self.where, self.mend))


def _rebuild(kind: type[OpenSeekError], what: str, where: str, mend: str) -> OpenSeekError:
    return kind(what, where=where, mend=mend)


class ConfigError(OpenSeekError):
    """The configuration cannot be used as it stands. Never retried."""


class PermanentError(OpenSeekError):
    """Trying again would fail in the same way. Never retried."""


class TransientError(OpenSeekError):
    """Trying again may succeed (a network fault, a server that is busy). Retried."""


class DataError(PermanentError):
    """Input data is not what its source promises (format, column, encoding)."""


class StoreError(PermanentError):
    """The artifact store cannot be trusted or does not answer as it must."""


class CorruptArtifactError(StoreError):
    """A file of the store does not match its recorded size or digest."""


class LeaseError(TransientError):
    """Another live process is working on the same step."""


class TrainingError(PermanentError):
    """Training cannot go on (divergence, a dead rank, a bad checkpoint)."""
