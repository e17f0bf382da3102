"""The truth about faults: a file of labels, one JSON object a line, that the server has no way to read (mode 0600)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from devices.errors import DeviceError
from devices.faults.catalogue import CATALOGUE
from devices.faults.fault import Fault


class TruthFile:
    """Appends a label when a fault begins, with its planned end; the same label again if it ends before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise DeviceError(f"{path}: labels cannot be written ({error})") from error

    def write(self, fault: Fault, members: list[str], end_ms: int | None = None) -> None:
        """Label a fault; `members` are the devices that feel it. `end_ms`: when it ended, if not as planned."""
        told = {
            "type": fault.type, "subject": fault.subject, "kind": CATALOGUE[fault.type].scope,
            "start_ms": fault.start_ms, "end_ms": fault.end_ms if end_ms is None else end_ms,
            "magnitude": fault.magnitude, "quantity": fault.quantity,
            "confounder": CATALOGUE[fault.type].confounder, "members": members,
        }  # fmt: skip
        os.write(self._fd, json.dumps(told, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


def read_truth(path: Path) -> list[dict[str, object]]:
    """The labels of a file, in order; of two for one fault the later counts. A torn last line is left out.

    Raises DeviceError.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise DeviceError(f"{path}: labels cannot be read ({error})") from error
    labels: dict[tuple[object, object, object], dict[str, object]] = {}
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            labels[told["type"], told["subject"], told["start_ms"]] = told
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(f"{path}:{number}: not a label ({error})") from error
    return list(labels.values())
