"""The small error tree of `twin`. Messages say what to do."""

from __future__ import annotations


class TwinError(Exception):
    """Root of the tree."""


class SettingsError(TwinError):
    """A configuration that is wrong: file, line, key, fix in the message."""


class JournalFull(TwinError):
    """The journal reached its bound, or the disk is full or fails: nothing was acknowledged; ingest tries again."""


class BodyRefused(TwinError):
    """A body breaks its own contract and will never be taken; nothing of its call was kept. Trying again is in vain."""


class JournalBroken(TwinError):
    """The journal cannot be read (not a journal, or damaged): the message says which entry and what to do."""


class JournalBusy(TwinError):
    """Another process has the journal open: the message says which one."""


class StoreDown(TwinError):
    """The store cannot be reached or refuses for now: the writer waits, the journal holds."""


class StoreBroken(TwinError):
    """A store's own files cannot be read (damaged, or of a newer version): the message says what to do.

    `file`: the name of the one sealed file that it is about, '' where it is the whole store.
    """

    def __init__(self, message: str, *, file: str = "") -> None:
        super().__init__(message)
        self.file = file


class StoreElsewhere(TwinError):
    """What was asked is the business of the server that holds the series: the message names its own tool."""


class CheckpointBroken(TwinError):
    """A checkpoint cannot be read: the one before it is used."""


class CityMoved(TwinError):
    """A change was made for a version of the city that is no longer the newest: look again, and ask anew."""


class IllegalStep(TwinError):
    """A case cannot take that step from where it stands; the message names the steps that it can take."""


class UnknownPlace(TwinError):
    """A case type, a subject or a way out that there is not; the message says what there is."""


class LinkRefused(TwinError):
    """A link to answer by does not open: `why` is "forged", "expired" or "used"."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this link is {why}")
        self.why = why


class AccessError(TwinError):
    """A user, token, password or book that cannot be as asked; `zh` says it in Chinese, `why` is "unknown", "disk"
    or ""."""

    def __init__(self, message: str, zh: str = "", *, why: str = "") -> None:
        super().__init__(message)
        self.zh = zh or message
        self.why = why


class DeliveryFailed(TwinError):
    """A channel could not deliver. `retry` says whether another attempt makes sense, `after_s` when."""

    def __init__(self, detail: str, *, retry: bool = True, after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry = retry
        self.after_s = after_s


class BadPeriod(TwinError):
    """A period of days that cannot be; the message says why."""


class AlbumFull(TwinError):
    """A photo that cannot be kept: too many under its case, or no room."""


class BacktestRuns(TwinError):
    """A back-test is running, and there is one at a time."""
