"""The city's tables read again while the server runs: a file that changes counts; a wrong one is said, and does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from devices.cities.staff import read_departments
from devices.cities.tables import Problems
from devices.errors import DeviceError
from devices.places import CityFiles
from twin.errors import JournalFull, TwinError

LOG = logging.getLogger(__name__)

EVERY_S = 2.0
Look = tuple[int, int, int] | None  # of a file: when it was written, its size, which it is; None: there is none


@dataclass(slots=True)
class Tables:
    """Looks at files every so often; one that changed, and then stood still for a turn, is given to its reader.

    readers: by file name; each reads its file anew and raises TwinError or DeviceError for a wrong one. trouble: by
    file name, why what stands in the file is not in force.
    """

    folder: Path | None
    readers: Mapping[str, Callable[[], None]]
    every_s: float = EVERY_S
    trouble: dict[str, str] = field(default_factory=dict)
    _taken: dict[str, Look] = field(default_factory=dict)
    _seen: dict[str, Look] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._taken = {name: self._look(name) for name in self.readers}
        self._seen = dict(self._taken)

    def start(self) -> None:
        """Begin, unless the city has no files of its own."""
        if self.folder is not None:
            self._thread = threading.Thread(target=self._run, name="tables", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a file that is being read is waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def turn(self) -> None:
        """Look once at every file."""
        for name, read in self.readers.items():
            look = self._look(name)
            still, self._seen[name] = look == self._seen[name], look
            if look == self._taken[name] or not still:
                continue
            try:
                read()
            except JournalFull as error:  # the same file is asked again at the next turn
                self.trouble[name] = str(error)[:1000]
                continue
            except (TwinError, DeviceError, OSError, ValueError) as error:
                self.trouble[name] = str(error)[:1000]
                LOG.warning("%s changed and is not taken in, what was in force stays: %s", name, error)
            else:
                self.trouble.pop(name, None)
            self._taken[name] = look

    def _look(self, name: str) -> Look:
        if self.folder is None:
            return None
        try:
            found = (self.folder / name).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            self.turn()


def departments_of(files: CityFiles) -> CityFiles:
    """The city with the calendars and departments that its departments.toml has now. Raises CityFileError."""
    problems = Problems()
    calendars, departments = read_departments((files.folder or Path()) / "departments.toml", problems)
    if problems:
        raise problems.all()[0]
    return replace(files, calendars=tuple(calendars.values()), departments=tuple(departments.values()))
