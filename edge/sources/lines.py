"""Lines of JSON or CSV from a serial line, a FIFO, standard input or a file.

[[source]]
type = "lines"
path = "/dev/ttyUSB0"     # "-": standard input; a file is read once, to its end
baud = 9600               # of a serial line
format = "csv"            # or "json": one object a line, in a form of the envelope or mapped by [source.values]
columns = ["when", "id", "temp"]
time = "when"
time_form = "unix_s"
device_field = "id"       # or device = "pole-1" for all lines
kind = "pole"
[source.values]
temp = "temperature"
"""

from __future__ import annotations

import csv
import json
import os
import selectors
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.codec import Decoded, read_payload
from devices.envelope import load_object
from devices.errors import PayloadError
from devices.kinds import KINDS
from devices.records import Kind, Reading
from edge.sheet import Sheet
from edge.sources.fields import TIME_FORMS, Field, FieldMap, TimeForm, kind_of, read_field_map
from edge.sources.intake import Intake, SourceCounts, Taken

MAX_LINE = 64 * 1024
CHUNK = 16 * 1024
AGAIN_S = (0.5, 15.0)  # first and longest wait before opening again
KEYS = frozenset((
    "type", "name", "path", "baud", "format", "columns", "header", "delimiter", "time", "time_form", "device",
    "device_field", "kind", "policy", "values",
))  # fmt: skip
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400)


@dataclass(frozen=True, slots=True)
class LineForm:
    """How a line becomes a reading."""

    csv: bool = False
    columns: tuple[str, ...] = ()  # of CSV; empty: the first line names them
    delimiter: str = ","
    device: str = ""  # "": the field `device_field` says it
    device_field: str = "device"
    time: str = ""
    time_form: TimeForm = "unix_ms"
    fields: FieldMap | None = None  # None: quantities by their own names


class Cutter:
    """Cuts a stream into lines; a line longer than MAX_LINE is refused and skipped."""

    def __init__(self, counts: SourceCounts) -> None:
        self._counts = counts
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that are complete now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if self._skipping or len(line) > MAX_LINE:
                self._refuse(line)
                self._skipping = False
            elif line.strip():
                yield line
        if len(self._rest) > MAX_LINE:
            self._refuse(self._rest)
            self._skipping, self._rest = True, b""

    def end(self) -> Iterator[bytes]:
        """What stands after the last newline when the stream has ended."""
        yield from self.feed(b"\n")
        self._skipping = False

    def _refuse(self, line: bytes) -> None:
        if not self._skipping:
            self._counts.refuse(PayloadError("too_large", f"a line of more than {MAX_LINE} bytes"), line)


class LineReader:
    """Lines to readings; what is malformed is counted. Pure."""

    def __init__(self, form: LineForm, intake: Intake, counts: SourceCounts) -> None:
        self._form, self._counts = form, counts
        self._addresses = intake.addresses
        self._columns = form.columns
        self._own: dict[str, FieldMap] = {}  # kind -> fields by the quantities' own names

    def begin(self) -> None:
        """The stream begins anew: a header line is expected again."""
        self._columns = self._form.columns

    def read(self, line: bytes) -> Sequence[Reading]:
        """The readings of one line."""
        if self._form.csv and not self._columns:
            self._columns = self._header(line)
            return ()
        self._counts.pieces += 1
        try:
            return self._counts.take(self._csv(line) if self._form.csv else self._json(line), line)
        except PayloadError as error:
            self._counts.refuse(error, line)
            return ()

    def _header(self, line: bytes) -> tuple[str, ...]:
        try:
            return tuple(cell.strip() for cell in self._cells(line))
        except PayloadError as error:
            self._counts.refuse(error, line)
            return ()

    def _cells(self, line: bytes) -> list[str]:
        try:
            text = line.decode("utf-8-sig").strip("\r\n")
            return next(csv.reader([text], delimiter=self._form.delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise PayloadError("syntax", f"not CSV ({error})") from error

    def _csv(self, line: bytes) -> Decoded:
        cells = self._cells(line)
        if len(cells) != len(self._columns):
            raise PayloadError("shape", f"{len(cells)} cells; there are {len(self._columns)} columns")
        told = dict(zip(self._columns, (cell.strip() for cell in cells), strict=True))
        device, kind = self._whose(told)
        return self._fields(kind).read(device, told)

    def _json(self, line: bytes) -> Decoded:
        told = load_object(line)
        device, kind = self._whose(told)
        if self._form.fields is not None:
            return self._fields(kind).read(device, told)
        if self._form.device_field != "device" and self._form.device_field in told:
            del told[self._form.device_field]
            line = json.dumps(told).encode()
        return read_payload(kind, device, line)

    def _whose(self, told: dict[str, Any]) -> tuple[str, Kind]:
        """Device and kind. Raises PayloadError (`device`, `unknown_device`)."""
        device = self._form.device or told.get(self._form.device_field)
        if not isinstance(device, str) or not device:
            raise PayloadError("device", f"no device in {self._form.device_field!r}")
        address = self._addresses.get(device)
        if address is None:
            raise PayloadError("unknown_device", f"{device[:64]!r} is not in [devices]")
        return device, KINDS[address.kind]

    def _fields(self, kind: Kind) -> FieldMap:
        form = self._form
        if form.fields is not None:
            if form.fields.kind.name != kind.name:
                raise PayloadError("device", f"a line of a {kind.name}; the mapping is for a {form.fields.kind.name}")
            return form.fields
        if kind.name not in self._own:
            fields = tuple(Field((column,), kind.quantity(column)) for column in self._columns if column in kind.index)
            self._own[kind.name] = FieldMap(kind, fields, (form.time,) if form.time else None, form.time_form)
        return self._own[kind.name]


class Lines:
    """Reads one path in a thread of its own; opens it again when it is gone."""

    def __init__(self, name: str, path: str, baud: int, form: LineForm, intake: Intake, thin: bool) -> None:
        self.name, self._path, self._baud, self._thin = name, path, baud, thin
        self.counts = SourceCounts()
        self.problem = ""
        self.ended = False
        self._intake = intake
        self._reader = LineReader(form, intake, self.counts)
        self._stopping = threading.Event()
        self._wake = self._waker = -1
        self._thread = threading.Thread(target=self._run, name=f"lines {name}", daemon=True)

    def start(self) -> None:
        self._wake, self._waker = os.pipe()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._waker < 0:
            return  # never started
        os.write(self._waker, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._waker)

    def close(self) -> None:
        """There is nothing to acknowledge: `stop` has left the line."""

    def _run(self) -> None:
        wait_s = AGAIN_S[0]
        while not self._stopping.is_set() and not self.ended:
            try:
                fd, once = self._open()
            except OSError as error:
                self.problem = f"{self._path}: {error.strerror or error}"
            else:
                self.problem = ""
                wait_s = AGAIN_S[0]
                try:
                    self._drain(fd, once)
                except OSError as error:
                    self.problem = f"{self._path}: {error.strerror or error}"
                finally:
                    if fd != 0:
                        os.close(fd)
            if not self.ended and self._stopping.wait(wait_s):
                return
            wait_s = min(2 * wait_s, AGAIN_S[1])

    def _open(self) -> tuple[int, bool]:
        """A descriptor, and whether its end is the end of all. Raises OSError."""
        if self._path == "-":
            return 0, True
        mode = Path(self._path).stat().st_mode
        # A FIFO opened for writing too has no end, whoever comes and goes at the other side.
        flags = os.O_RDWR if stat.S_ISFIFO(mode) else os.O_RDONLY
        fd = os.open(self._path, flags | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if os.isatty(fd):
                set_raw(fd, self._baud)
        except OSError:
            os.close(fd)
            raise
        return fd, stat.S_ISREG(mode)

    def _drain(self, fd: int, once: bool) -> None:
        """Read until the end, or until we stop. Raises OSError when a line is unplugged."""
        cutter = Cutter(self.counts)
        self._reader.begin()
        regular = stat.S_ISREG(os.fstat(fd).st_mode)  # epoll takes no regular files; they are always ready
        with selectors.SelectSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            if not regular:
                selector.register(fd, selectors.EVENT_READ)
            while not self._stopping.is_set():
                ready = [key.fd for key, _ in selector.select(0 if regular else None)]
                if not regular and fd not in ready:
                    continue
                chunk = os.read(fd, CHUNK)
                if not self._give(cutter.feed(chunk) if chunk else cutter.end()):
                    return
                if not chunk:
                    self.ended = once
                    if not once:
                        raise OSError("the other side has hung up")
                    return

    def _give(self, lines: Iterator[bytes]) -> bool:
        readings = [reading for line in lines for reading in self._reader.read(line)]
        return not readings or self._intake.give(Taken(readings, self._thin))


def set_raw(fd: int, baud: int) -> None:
    """Make a terminal a plain 8N1 line of that speed. Raises OSError."""
    import termios

    try:
        told = termios.tcgetattr(fd)
        speed = getattr(termios, f"B{baud}")
        flags = termios.CS8 | termios.CREAD | termios.CLOCAL
        characters = list(told[6])
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, flags, 0, speed, speed, characters])
    except termios.error as error:
        raise OSError(error.args[0], f"cannot be set to {baud} baud ({error.args[-1]})") from error


def open_lines(sheet: Sheet, intake: Intake) -> Lines:
    """A source from its table. Raises ConfigError."""
    sheet.known(KEYS)
    path = sheet.word("path")
    baud = sheet.whole("baud", 9600)
    if baud not in BAUDS:
        sheet.fail("baud", f"{baud} is no usual speed", f"one of {', '.join(map(str, BAUDS))}")
    is_csv = sheet.choice("format", "json", ("json", "csv")) == "csv"
    device = sheet.word("device", "")
    if device and device not in intake.addresses:
        sheet.fail("device", f"{device!r} is not in [devices]", "write it there with its kind")
    delimiter = sheet.word("delimiter", ",")
    if len(delimiter) != 1:
        sheet.fail("delimiter", f"{delimiter!r} is not one letter", 'for example delimiter = ";"')
    columns = sheet.words("columns")
    if is_csv and not columns and not sheet.truth("header", False):
        sheet.fail("", "CSV without columns", 'write columns = ["t", "device", ...], or header = true')
    time_form = sheet.choice("time_form", "unix_ms", TIME_FORMS)
    time = sheet.word("time", "t" if "t" in columns or not columns else "")
    form = LineForm(
        csv=is_csv,
        columns=() if sheet.truth("header", False) else columns,
        delimiter=delimiter,
        device=device,
        device_field=sheet.word("device_field", "device"),
        time=time,
        time_form=next(one for one in TIME_FORMS if one == time_form),
        fields=_fields(sheet, intake, device, time, time_form),
    )
    return Lines(sheet.word("name", path), path, baud, form, intake, sheet.truth("policy", True))


def _fields(sheet: Sheet, intake: Intake, device: str, time: str, form: str) -> FieldMap | None:
    values = sheet.sheet("values")
    if not values.table:
        return None
    named = sheet.word("kind", intake.addresses[device].kind if device else "")
    if not named:
        sheet.fail("", "[source.values] needs to know the kind", 'write kind = "pole"')
    return read_field_map(values, kind_of(sheet, "kind", named), time, form)
