"""What the server remembers from one run to the next: world and account from the newest good checkpoint."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.cities.change import ChangeRefused
from devices.places import CityFiles
from twin.app.checkpoints import Checkpoints, Pieces, Stored
from twin.app.forked import FORKS, ended, fork
from twin.app.heap import give_back
from twin.city import City, Registry
from twin.deliver.cases import EMPTY_TICKS
from twin.errors import CheckpointBroken, JournalFull, TwinError
from twin.ingest.ledger import Ledger as Book
from twin.journal import Journal
from twin.records import Batch, Edit, Tick
from twin.tick import CityEdit, World
from twin.tick.checkpoint import pieces, read
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

LOG = logging.getLogger(__name__)

CHUNK = 4096
REST = 60.0  # a forked checkpoint is due no sooner than after so many times as long as the last one took to write
LONGEST_S = 600.0  # and no later than this, so that a start has not much to replay
GIVE_BACK_S = 30.0  # what ticks left free in the heap goes back to the system so often
FORK_FROM = 100_000  # channels; fewer (50 MB) are copied in some tens of milliseconds


@dataclass(slots=True)
class Restored:
    """A world and an account, and the journal numbers that they have seen."""

    world: World
    world_n: int
    book: Book


def restore(
    checkpoints: Checkpoints,
    city: City,
    journal: Journal,
    policy: Policy,
    files_of: Callable[[int], CityFiles] | None = None,
    *,
    cases_to: int | None = None,
    gaps: bool = True,
) -> Restored:
    """World and account of the newest checkpoint that can be read and that the journal still continues.

    Without one: an empty world, which must then see the whole journal, over the `city` as it is given. With
    `files_of(version)` the city becomes the one of the checkpoint.

    `cases_to`: the last tick that the case database has. A world that has seen more would never record again what is
    missing there, so an older one is taken, or the journal from its beginning. Where neither reaches back, and `gaps`
    is False, raises TwinError: going on would lose what was acknowledged.
    """
    began = city.files, city.version
    ahead: list[Path] = []

    def load(path: Path, *, anyhow: bool = False) -> Restored | None:
        try:
            parts = Checkpoints.read(path)
            n = parts["world"].n
            if n < journal.first - 1 or n > journal.position:
                LOG.warning("checkpoint %s does not belong to this journal", path.name)
                return None
            if cases_to is not None and n > cases_to and not (anyhow and _few_ticks(journal, cases_to, n)):
                LOG.warning("checkpoint %s is not used: the case database ends at entry %d", path.name, cases_to)
                ahead.append(path)
                return None
            book = Book()
            book.load(_tree(parts["account"]))
            world = World.revived(_tree(parts["world"]), city, _ledger(city, policy), files_of=files_of)
            return Restored(world, n, book)
        except (CheckpointBroken, OSError, KeyError, ValueError) as error:
            LOG.warning("checkpoint %s is not used: %s", path.name, error)
            return None

    for path in checkpoints.files():
        if (found := load(path)) is not None:
            return found
    for path in list(ahead) if journal.first > 1 else ():
        if (found := load(path, anyhow=True)) is not None:
            return found
    if journal.first > 1:
        lost = f"no checkpoint can be used, and the journal begins at entry {journal.first}: what was learnt before it"
        if cases_to is not None and cases_to < journal.first - 1:
            lost = (
                f"the case database ends at entry {cases_to}, the journal begins at {journal.first}: cases in between"
            )
        if not gaps:
            raise TwinError(
                f"{lost} would be lost. Restore the data directory from a backup (checkpoints, journal.db and cases.db "
                'of the same time), or start once with [journal] gaps = "accept" to go on without that'
            )
        LOG.warning("%s is lost", lost)
    city.become(*began)
    return Restored(World(city, _ledger(city, policy)), journal.first - 1, Book())


def _tree(part: Stored) -> dict[str, Any]:
    with part.open() as file:
        return read(file, part.size)


def _few_ticks(journal: Journal, after: int, until: int) -> bool:
    """Whether so few ticks lie between two entries that they may just not have been noted, as they changed nothing."""
    if after < journal.first - 1:
        return False
    ticks = 0
    while after < until:
        for entry in journal.read(after, CHUNK):
            after = entry.n
            ticks += isinstance(entry.body, Tick) and after <= until
        if ticks > EMPTY_TICKS:
            return False
    return True


def _ledger(city: City, policy: Policy) -> Ledger:
    return Ledger(CityPlaces.of(city.files), policy)


def recount(book: Book, journal: Journal, note: Callable[[Batch], None], registry: Registry | None = None) -> None:
    """Bring the account up to the journal's end. Every batch passes `note` as well (the newest rejects).

    With a `registry`, devices that were replaced on the way count anew from there.
    """
    after = max(book.position, journal.first - 1)
    while entries := journal.read(after, CHUNK):
        after = entries[-1].n
        for entry in entries:
            if isinstance(entry.body, Batch):
                book.commit(entry.body, entry.n)
                note(entry.body)
            elif isinstance(entry.body, Edit) and entry.body.what == "city" and registry is not None:
                for kind, row in renewed_by(entry.body.text, registry):
                    book.renew(kind, row, entry.n)


def renewed_by(text: str, registry: Registry) -> list[tuple[str, int]]:
    """(kind, row) of the devices for which other hardware speaks after a journalled change of the city."""
    try:
        changes = CityEdit.read(text).changes
    except (ChangeRefused, ValueError, KeyError, TypeError):
        return []  # the tick says so
    kinds = {c.id: str((c.value or {}).get("kind", "")) for c in changes if c.replaces == c.id}
    return [(kind, row) for name, kind in kinds.items() if (row := registry.find(kind, name)) is not None]


Parts = dict[str, tuple[int, Mapping[str, Any]]]  # name -> (last entry seen, tree)


@dataclass(frozen=True, slots=True)
class Forked:
    """A checkpoint that another process is writing, and where."""

    child: int
    aside: Path
    began_s: float


def _parts(world: Mapping[str, Any], world_n: int, account: Mapping[str, Any]) -> Parts:
    return {"world": (world_n, world), "account": (int(account["position"]), account)}


def _in_pieces(parts: Parts) -> dict[str, Pieces]:
    return {name: Pieces(n, pieces(told)) for name, (n, told) in parts.items()}


@dataclass(slots=True)
class Keeper:
    """Writes checkpoints every so often in a thread of its own, and lets the journal forget what none needs.

    `snapshot()` is called in the ticking thread (`offer`), everything slow happens in the keeper's.
    """

    checkpoints: Checkpoints
    journal: Journal
    durable: Callable[[], int]  # entries up to here the store keeps for good
    every_s: float
    keep_bytes: int
    written: int = 0
    longest_hold_s: float = 0.0
    trouble: str = ""
    _due_s: float = field(default_factory=time.monotonic)
    fork_from: int = FORK_FROM
    ready: Callable[[], bool] = lambda: True  # whether what the world has decided is written down elsewhere
    _handed: Parts | Forked | None = None
    _change: threading.Condition = field(default_factory=threading.Condition)
    _stop: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._due_s = time.monotonic() + self.every_s
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def offer(self, world: World, world_n: int, book: Book, *, now: bool = False) -> None:
        """(ticking thread) If one is due, copy the world and the account for the next checkpoint. A large world is not
        copied but forked: the child writes it as it was here."""
        if not now and (time.monotonic() < self._due_s or self._handed is not None):
            return
        if not self.ready():
            return  # the next tick offers again
        began = time.perf_counter()
        forked = self._fork(world, world_n, book) if FORKS and world.channels >= self.fork_from else None
        handed = forked if forked is not None else _parts(world.snapshot(), world_n, book.dump())
        self.longest_hold_s = max(self.longest_hold_s, time.perf_counter() - began)
        self._due_s = time.monotonic() + self.every_s
        with self._change:
            self._handed = handed
            self._change.notify()

    def _fork(self, world: World, world_n: int, book: Book) -> Forked | None:
        """A process that writes the checkpoint; None where none can be had."""
        try:
            with book.held():  # the child has this thread alone: what another one held would be held in it for ever
                aside = self.checkpoints.aside((world_n, book.position))
                child = fork(lambda: self._write_as_is(aside, world, world_n, book))
            return Forked(child, aside, time.monotonic())
        except OSError as error:
            LOG.warning("no process can be had for the checkpoint, the world is copied: %s", error)
            return None

    def _write_as_is(self, aside: Path, world: World, world_n: int, book: Book) -> None:
        """(child) Write down what memory held."""
        parts = _parts(world.snapshot(copied=False), world_n, book.dump())
        self.checkpoints.prepare(aside, _in_pieces(parts))

    def stop(self) -> None:
        """Write what was offered last, and end."""
        with self._change:
            self._stop = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._handed is not None or self._stop, GIVE_BACK_S)
                handed = self._handed
                if handed is None and self._stop:
                    return
            if handed is not None:
                self._write(handed)
                with self._change:
                    if self._handed is handed:  # the last one may have been offered meanwhile
                        self._handed = None
                del handed  # or the copy would live until the next one is handed over
            give_back()  # tens of megabytes of a full city, in some tens of ms

    def _write(self, handed: Parts | Forked) -> None:
        try:
            if isinstance(handed, Forked):
                ended(handed.child)
                self.checkpoints.adopt(handed.aside)
                took = time.monotonic() - handed.began_s
                self._due_s = max(self._due_s, handed.began_s + min(REST * took, LONGEST_S))
            else:
                self.checkpoints.write(_in_pieces(handed))
            self.written += 1
            self.trouble = ""
            self._trim()
        except (OSError, JournalFull) as error:
            self.trouble = str(error)
            LOG.warning("no checkpoint could be written, trying again later: %s", error)

    def _trim(self) -> None:
        """Forget entries that both kept checkpoints and the store are past, unless the journal is still small."""
        if self.journal.size().bytes <= self.keep_bytes:
            return
        below = min(self.checkpoints.floor(), self.durable()) + 1
        if below > self.journal.first:
            self.journal.trim(below)
