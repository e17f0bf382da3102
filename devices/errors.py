"""The small error tree of `devices`: every bad input ends as one of these, with a reason that is counted."""

from __future__ import annotations


class DeviceError(Exception):
    """Root of the tree."""


class PayloadError(DeviceError):
    """A payload that cannot be a reading. `reason` is one of `REASONS`, and is what is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class CityFileError(DeviceError):
    """A city file that is wrong: where, what, and how to mend it."""

    def __init__(self, file: str, line: int, problem: str, fix: str) -> None:
        super().__init__(f"{file}:{line}: {problem} ({fix})")
        self.file, self.line, self.problem, self.fix = file, line, problem, fix


class MappingError(DeviceError):
    """A mapping file (recorded CSV -> devices) that is wrong: file, line, problem, fix in the message."""


# Why a message or a value of it was refused; the same words on the page, by API, in /metrics and in the docs.
REASONS: tuple[str, ...] = (
    "syntax",  # not JSON / not SenML / not CBOR
    "shape",  # well-formed, but not an envelope or pack
    "envelope",  # boot, seq or time of the wrong type, negative or absurd
    "device",  # the payload names another device than its topic
    "quantity",  # a name that this kind does not have
    "unit",  # a SenML unit other than the quantity's
    "type",  # a value that is no number, or an unknown state
    "range",  # outside the physical range, or a known "missing" code (-200, 2147483647)
    "topic",  # a topic outside city/{district}/{kind}/{device}/{leaf}
    "unknown_device",  # not in the registry
    "too_large",  # more bytes or readings than one message may hold
    "empty",  # nothing in it was usable
    "flood",  # far more at once than the device's cadence allows
)
