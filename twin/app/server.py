"""One running server: everything opened in order, started, watched, stopped in the reverse order. The wiring room."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import logging
import os
import secrets
import signal
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from sqlalchemy.exc import DatabaseError

from devices.cities.change import ChangeRefused, difference
from devices.cities.judge import consequences, judged
from devices.cities.load import load_city
from devices.clock import SteadyClock, read_clock
from devices.places import CityFiles
from twin.access import Access
from twin.access.access import FILE as USERS
from twin.access.veil import FILE as VEIL
from twin.access.veil import veil_key
from twin.app.accounts import Accounts
from twin.app.actions import Counter
from twin.app.backorder import order_of
from twin.app.backtest import Order
from twin.app.backtests import Backtesting
from twin.app.casebook import case_place, open_cases
from twin.app.checkpoints import Checkpoints
from twin.app.desk import CityDesk
from twin.app.exits import Exits
from twin.app.heap import settle, thrifty
from twin.app.heart import Heart, StoppedHere
from twin.app.heartbeat import Heartbeat
from twin.app.history import History, digest_of
from twin.app.marks import Marks, Topics, moved_marks
from twin.app.memory import Keeper, recount, restore
from twin.app.partners import Partners
from twin.app.picture import Picture
from twin.app.plates import Plates, plates_of
from twin.app.privacy import city_veil, cover, retention_of, veil_logs
from twin.app.proof import Heads
from twin.app.register import CityRegister, moved_devices
from twin.app.rulebook import Rulebook, Tablebook
from twin.app.strangers import Strangers
from twin.app.tables import Tables, departments_of
from twin.app.ways import city_toml, direct, open_channels, policybook, provisioner, unreached
from twin.city import City, Registry
from twin.deliver.links import FILE as LINKS
from twin.deliver.links import Links, link_secret
from twin.deliver.post import Sender
from twin.errors import JournalBroken, JournalFull, SettingsError, TwinError
from twin.ingest.endpoint import LinkSettings
from twin.ingest.flood import Flood
from twin.ingest.pump import Pump
from twin.journal import Journal
from twin.query.backtest import Ask
from twin.query.register import Wish
from twin.records import FLAG_EVENT, I32, Batch, Body, Columns, Delivery, Edit, Link, Outcome
from twin.settings import Settings, read_secret
from twin.store import Rows, keep_of, open_store
from twin.store.aside import Refusals
from twin.store.backup import back_up
from twin.store.embedded import EmbeddedStore
from twin.store.skipped import SKIPPED, Skipped
from twin.store.writer import Refuses, StoreWriter
from twin.tick import CityEdit, Moved, Ticked

LOG = logging.getLogger(__name__)

RECORDED = "Beijing Multi-Site Air Quality, S. Chen, UCI Machine Learning Repository 501, CC BY 4.0"
STORE_STOP_S = 5.0  # a store that hangs may hold up the end of the server so long
NOTE = "running.json"  # tells command line and demo where the server is


class _ToldToStop(BaseException):
    """SIGTERM or SIGINT came while the server was opening."""


def run(settings: Settings) -> None:
    """Run a server until SIGINT or SIGTERM. Raises TwinError, DeviceError where it cannot start."""
    thrifty()
    stopping = threading.Event()
    failed: list[str] = []

    def broke(what: threading.ExceptHookArgs) -> None:
        """A thread ended by a fault of ours: say where, and stop as a whole; whoever watches starts us again."""
        name = what.thread.name if what.thread is not None else "?"
        error = what.exc_value
        LOG.critical("thread %s ended by an error", name, exc_info=error)
        failed.append(f"{name}: {what.exc_value!r}")
        stopping.set()

    opening = [True]

    def told(_number: int, _frame: object) -> None:
        stopping.set()
        if opening:
            raise _ToldToStop  # a long replay is given up: whatever it had done the next start does again

    def unraised(what: sys.UnraisableHookArgs) -> None:
        """The signal came inside a clean-up, where nothing can be raised: the start goes on, and then ends."""
        if what.exc_type is not _ToldToStop:
            sys.__unraisablehook__(what)

    threading.excepthook = broke
    sys.unraisablehook = unraised
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)
    with contextlib.ExitStack() as stack:
        try:
            with _damage_told(settings):
                server = Server(settings, stack)
            opening.clear()
        except _ToldToStop:
            LOG.info("stopped while starting")
            return
        settle()
        with _damage_told(settings):
            server.start()
        while not stopping.wait(1.0):
            pass
        LOG.info("stopping")
    if failed:
        raise TwinError(f"a part of the server broke: {failed[0]}; the log says where. Start it again: nothing is lost")


class Server:
    """Opens every part on construction (restoring what was), starts them by `start`; `stack` closes them in reverse."""

    def __init__(self, settings: Settings, stack: contextlib.ExitStack) -> None:
        self.settings, self._stack = settings, stack
        self.data = Path(settings.data_dir)
        try:
            self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.data.stat().st_uid == os.getuid():
                self.data.chmod(0o700)  # cases, histories and keys are nobody else's to read
        except OSError as error:
            raise TwinError(f"{self.data} cannot be made: {error.strerror}; set data_dir to another place") from error
        _ours(self.data)
        self.password = read_secret(settings.broker.password_file)
        lived = (self.data / "journal.db").exists()
        if lived and not (self.data / USERS).exists():
            LOG.warning("%s is gone, and with it all users, tokens and books: if that was not meant, stop, and restore "
                        "it from a backup", self.data / USERS)  # fmt: skip
        self.access = Access(self.data / USERS)
        stack.callback(self.access.close)
        self.channels = open_channels(settings)
        told = Path(settings.city.clock_file) if settings.city.clock_file else None
        self.clock = SteadyClock(read_clock(told))
        self.files: CityFiles = direct(load_city(settings.city.dir or "helsinki"), settings)
        self.veil = city_veil(self.files, settings, veil_key(self.data / VEIL))
        veil_logs(self.veil)
        self.journal = Journal(self.data / "journal.db", max_bytes=settings.journal.max_bytes)
        stack.callback(self.journal.close)
        self.history = History(self.data / "city.db", self.files, self.clock.now_ms())
        stack.callback(self.history.close)
        try:
            self.history.keep_basemap()
        except OSError as error:
            LOG.warning("no copy of the base map is kept: %s; its past will have the map of today's files", error)
        self.city = self._open_city()
        self.cases = open_cases(settings)
        stack.callback(self.cases.close)
        self.cases.bind(self.journal.id)
        if self.cases.backup:
            LOG.info("the case database was migrated; a backup of the older one is %s", self.cases.backup)
        self._open_store()
        self._restore()
        self._open_ways_out()

    # ---- opening ---------------------------------------------------------------------------------------------

    def _open_city(self) -> City:
        """The city as it was where the journal begins, over the rows that the journal gave; devices that have none yet
        get theirs, journalled before anything else."""
        version = self.history.before_entry(self.journal.first - 1)
        city = City(self.history.files_at(version), Registry(self.journal.names()), version)
        fresh = city.registry.drain()
        if fresh is not None:
            self.journal.append([fresh])
        return city

    def _open_store(self) -> None:
        settings = self.settings.store
        rows = Rows(self.journal.names())
        self.store = open_store(settings, self.data / "store", rows, self.journal.id)
        self._stack.callback(self.store.close)
        self.writer = StoreWriter(
            self.journal,
            self.store,
            rows,
            keep=keep_of(settings),
            now_ms=self.clock.now_ms,
            skipped=Skipped(self.data / "store" / SKIPPED, self.journal.id),
        )

    def _restore(self) -> None:
        """World and account from the last checkpoint, then the journal after it through the same ticks."""
        self.checkpoints = Checkpoints(self.data / "checkpoints")
        self.policybook = policybook(self.files, self.settings, self._append)
        cases_to = self.cases.last_tick
        if cases_to > self.journal.position:
            raise TwinError(
                f"{case_place(self.settings)} has entry {cases_to}, the journal ends at {self.journal.position}: the "
                "journal was restored from an older copy; restore both of the same time"
            )
        restored = restore(
            self.checkpoints, self.city, self.journal, self.policybook.policy, self.history.files_at,
            cases_to=cases_to, gaps=self.settings.journal.gaps == "accept",
        )  # fmt: skip
        self.book = restored.book
        self._pace()
        self.accounts = Accounts(self.book, self.city.registry, self.journal, self._stored, self._refused)
        self.strangers = Strangers()
        self.counter = Counter(self._append, self._nudge)
        self.heart = Heart(
            restored.world,
            self.journal,
            self.cases,
            self.clock,
            self.settings.tick.interval_s,
            self._ticked,
            position=restored.world_n,
        )
        self.keeper = Keeper(
            self.checkpoints,
            self.journal,
            lambda: self.writer.durable,
            self.settings.journal.checkpoint_every_s,
            self.settings.journal.keep_bytes,
            ready=self.cases.note_tick,
        )
        self.heart.pulse.last_now_ms = restored.world.now_ms
        self._live = False
        self._awaited: dict[str, I32] = {}
        began = time.monotonic()
        ticks = self.heart.replay()
        self.clock.resume(self.heart.pulse.last_now_ms)
        recount(self.book, self.journal, self._note, self.city.registry)
        self._follow_files()
        self._pace()
        self.picture = Picture(self.city)
        LOG.info("restored to entry %d by %d ticks in %.1f s", self.heart.position, ticks, time.monotonic() - began)
        if self.cases.differences:
            LOG.warning("%d steps differ from what is recorded; the record stands", self.cases.differences)
        self.picture.restore(restored.world, self.cases.standing())
        self._journal_rules()

    def _pace(self) -> None:
        """Tell ingest how often each device is to speak."""
        told = self.settings.ingest
        flood = Flood(told.flood_factor, told.flood_burst, told.flood_backlog)
        self.book.pace(flood, {kind: roster.cadence_s for kind, roster in self.city.rosters.items()})

    def _follow_files(self) -> None:
        """What the city's files say otherwise than at the start before is a change of the city from here on."""
        source = self.history.source()
        if source is None:
            return
        request = f"files-{self.history.digest[:32]}-{self.city.version}"
        changes = consequences(self.city.files, difference(source, self.files))
        if not changes:
            self.history.follow(self.clock.now_ms())
            return
        try:
            judged(self.city.files, changes)
        except ChangeRefused as refused:
            LOG.warning("the city's files changed and do not fit the city as it was changed here: %s", refused)
            return
        edit = CityEdit(request, "files", f"the files in {self.files.folder} changed", tuple(changes))
        registry = self.city.registry
        for change in changes:
            if change.table == "devices" and change.value is not None:
                registry.allocate(str(change.value["kind"]), change.id)
        fresh = registry.drain()
        bodies: list[Body] = [Link("down"), *([fresh] if fresh is not None else []), Edit("city", edit.text())]
        self.journal.append(bodies)  # our link was down while we were away: nobody was silent meanwhile
        if self.heart.beat():
            self.history.follow(self.clock.now_ms())
            LOG.info("the city's files changed: %d changes, version %d", len(changes), self.city.version)

    def _journal_rules(self) -> None:
        """The city's own rules and policy, if they are others than those in force, take effect from here on."""
        self.rulebook = Rulebook(self.data, city_toml(self.files, "rules.toml") or "", self._append)
        wanted = self.rulebook.wanted()
        if wanted != self.heart.world.rules.overrides():
            self.journal.append([Edit("rules", json.dumps(wanted, sort_keys=True))])
        policy = self.policybook.spell(self.policybook.table)
        if policy != self.heart.world.ledger.policy_text:
            self.journal.append([Edit("policy", policy)])
        self.tables = Tables(
            self.files.folder,
            {
                **{book.file: self._rereads(book) for book in (self.rulebook, self.policybook)},
                "departments.toml": self._reread_departments,
            },
        )

    def _rereads(self, book: Tablebook) -> Callable[[], None]:
        return lambda: book.reread(city_toml(self.files, book.file))

    def _reread_departments(self) -> None:
        """departments.toml changed: a change of the city. Raises DeviceError, TwinError; then nothing has changed."""
        files = direct(departments_of(self.files), self.settings)
        changes = difference(self.files, files)
        if changes:
            request = f"files-{digest_of(files)[:32]}-{self.city.version}"
            self.register.change(Wish(changes, "files", "departments.toml changed", request))
            cover(self.veil, self.city.files, self.settings)
        self.files = files
        self.history.renew(files, self.clock.now_ms())
        for department, channel in unreached(files, self.settings).items():
            LOG.warning("department %s is reached by %s, and there is no [channels.%s]", department, channel, channel)

    def _open_ways_out(self) -> None:
        """Channels, marks, and the way in."""
        told = self.settings
        for department, channel in unreached(self.files, told).items():
            LOG.warning("department %s is reached by %s, and there is no [channels.%s]", department, channel, channel)
        self.links = Links(link_secret(self.data / LINKS), told.web.public_url)
        self.plates = Plates(self.veil, self.access, plates_of(told))
        self.night = retention_of(told, self.files.timezone, self.clock.now_ms, self.access, self.cases)

        def dress(sent: Delivery) -> Delivery:
            return self.plates.dress(self.links.dress(sent, time.time()))

        self.sender = Sender(self.cases, self.channels, self._outcome, dress=dress)
        self.pump = Pump(self._link_settings(), self.city.registry, self.book, self._append, self.clock.now_ms)
        self.register = CityRegister(
            self.city, self.history, self.strangers, self.pump.journal, self._nudge, provisioner(told),
            self.clock.now_ms,
        )  # fmt: skip
        if self.city.version > 1:
            for note in self.register.provision(self.city.files):
                LOG.info("%s", note)
        link = self.pump.link
        self.marks = Marks(
            partial(moved_marks, self.book, Topics(self.city)),
            link.say,
            told.broker.mark_every_s,
            lambda: link.figures.connections,
        )

    def _link_settings(self) -> LinkSettings:
        told = self.settings.broker
        if told.mqtt_version not in (4, 5):
            raise SettingsError(f"[broker] mqtt_version = {told.mqtt_version} (give 4 for MQTT 3.1.1, or 5)")
        return LinkSettings(
            host=told.host,
            port=told.port,
            client_id=told.client_id,
            user=told.user,
            password=self.password,
            tls=_tls(self.settings) if told.tls else None,
            version=5 if told.mqtt_version == 5 else 4,
            share=told.share_group,
        )

    # ---- running ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; the page last. Each part's stop is put on the stack."""
        self._live = True
        self._note_absence()
        heart = threading.Thread(target=self.heart.run, name="heart", daemon=True)
        self._begin(self.writer.start, lambda: _within(STORE_STOP_S, self.writer.stop))
        self.keeper.start()
        self._stack.callback(self._last_checkpoint, heart)
        heart.start()
        self._stack.callback(self.counter.close)
        self._begin(self.pump.start, self.pump.stop)
        self._begin(self.marks.start, self.marks.stop)
        self._stack.callback(self.pump.halt)  # the last marks are of what was taken last
        self._serve()
        self._begin(self.night.start, self.night.stop)
        heads = Heads(self.cases, self.access)
        self._begin(heads.start, heads.stop)
        self._begin(self.tables.start, self.tables.stop)
        self._begin(self.sender.start, self.sender.stop)  # last: messages carry the address that people answer at
        self._begin(self.heartbeat.start, self.heartbeat.stop)

    def _note_absence(self) -> None:
        """Journal that our link was down until now, so that no device is silent for the time that we were away."""
        try:
            self.journal.append([Link("down")])
        except JournalFull as full:
            LOG.warning("starting without room in the journal: %s", full)

    def _begin(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        start()
        self._stack.callback(stop)

    def _serve(self) -> None:
        """The page and the API, found by entry point: what stands on the twin is not imported by it."""
        release = importlib.metadata.version("citywhistle")
        desk = CityDesk(
            self.city,
            self.clock,
            self.heart,
            self.picture,
            self.cases,
            self.journal,
            self.store,
            self.writer,
            self.accounts,
            self.counter,
            self.pump,
            self.data,
            release,
            Partners(lambda: self.policybook.policy, lambda: self.city.files.departments),
            [RECORDED] if any(device.origin == "recorded" for device in self.files.devices) else [],
            self.links,
            self.register,
            self.night,
            self.access,
            self.settings.retention.photos_days,
        )
        told = self.settings.heartbeat
        self.heartbeat = Heartbeat(
            told.url, desk.health, fail_url=told.fail_url, secret=read_secret(told.secret_file), every_s=told.every_s
        )
        desk.heartbeat, desk.rulebook = self.heartbeat, self.rulebook
        desk.policybook, desk.tables = self.policybook, self.tables
        desk.exits = Exits(self.settings, lambda: self.city.files, self.sender.figures)
        desk.backtests_ = self._backtesting()
        token = secrets.token_urlsafe(24)
        web = self.settings.web
        public = urlsplit(web.public_url).hostname
        names = [public] if public else []
        proxies = web.proxies.replace(",", " ").split()
        known = self.access.users.any()
        for face in importlib.metadata.entry_points(group="citywhistle.faces"):
            try:
                running = face.load()(
                    desk, host=web.host, port=web.port, token=token, ingest=self.pump.offer, hosts=names,
                    access=self.access, veil=self.veil, cert_file=web.cert_file, key_file=web.key_file, proxies=proxies,
                )  # fmt: skip
            except TwinError:
                raise
            except Exception as error:
                raise TwinError(f"{error} ([{face.name}] host and port say where)") from error
            self._stack.callback(running.stop)
            self.links.base = self.links.base or running.url
            # Where people have accounts no link lies about that needs none; `citywhistle open` makes one when asked.
            opened = running.url if known else running.open_url()
            note = {"url": running.url, "open": opened, "token": token, "pid": os.getpid(), "ca": web.cert_file}
            self._write_note(note)
            LOG.info("open %s", note["open"])
            if not known:
                LOG.info("nobody has an account yet: `citywhistle users add NAME --role admin` makes the first one")

    def _backtesting(self) -> Backtesting | None:
        """Back-tests beside this city; None where the series lie in another server."""
        store = self.store
        if not isinstance(store, EmbeddedStore):
            return None

        def order(ask: Ask) -> Order:
            rules = self.heart.world.rules.overrides()
            return order_of(store, self.journal.names(), self.history, self.policybook.policy, rules, ask)

        backtesting = Backtesting(
            self.data / "backtests", order, lambda folder: back_up(store, self.journal.names(), folder)
        )
        self._stack.callback(backtesting.stop)
        return backtesting

    def _write_note(self, note: dict[str, Any]) -> None:
        path = self.data / NOTE
        aside = self.data / (NOTE + ".new")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(json.dumps(note) + "\n")
            out.flush()
            os.fsync(out.fileno())  # or a power cut leaves an empty file for whoever looks for the server
        aside.replace(path)
        self._stack.callback(path.unlink, missing_ok=True)

    def _last_checkpoint(self, heart: threading.Thread) -> None:
        self.heart.stop()
        heart.join()
        if not self.heart.unrecorded:
            self.keeper.offer(self.heart.world, self.heart.ticked, self.book, now=True)
        self.keeper.stop()

    # ---- between the parts -----------------------------------------------------------------------------------

    def _append(self, bodies: Sequence[Body]) -> int:
        """Journal what came; events, what may complete an urgent finding, and actions make the heart beat sooner."""
        n = self.journal.append(bodies)
        batches = [body for body in bodies if isinstance(body, Batch)]
        if any(self._wants_tick(columns) for batch in batches for columns in batch.columns):
            self._nudge()
        for batch in batches:
            self._note(batch)
        return n

    def _wants_tick(self, columns: Columns) -> bool:
        if (columns.flags & FLAG_EVENT).any():
            return True
        awaited = self._awaited.get(columns.kind)
        return awaited is not None and bool(np.isin(columns.row, awaited).any())

    def _note(self, batch: Batch) -> None:
        self.accounts.note(batch)
        self.strangers.note(batch)

    def _record_moves(self, moves: Sequence[Moved]) -> None:
        """(ticking thread) Write changes of the city; while the disk refuses wait and say so, as the cases do."""
        while True:
            try:
                self.history.record(moves)
            except sqlite3.Error as error:
                self.heart.pulse.stalled = f"the city's history: {error}"[:300]
                LOG.warning("the city's history refuses, trying again: %s", error)
                if self.heart.stopping.wait(1.0):
                    self.heart.unrecorded = True  # no checkpoint may hold what the history lacks
                    raise StoppedHere(str(error)) from error
            else:
                return

    def _nudge(self) -> None:
        self.heart.nudge()

    def _outcome(self, outcome: Outcome) -> object:
        return self.journal.append([outcome])

    def _stored(self) -> int:
        return self.writer.state().sent

    def _refused(self) -> Refusals:
        return self.store.refused() if isinstance(self.store, Refuses) else Refusals()

    def _ticked(self, ticked: Ticked, n: int, now_ms: int) -> None:
        """(ticking thread) A tick was recorded: post, picture, answers to actions, checkpoint."""
        if ticked.moves:
            self._record_moves(ticked.moves)
        if not self._live:
            return
        if ticked.changes.deliveries or ticked.changes.resend:
            self.sender.wake()
        world = self.heart.world
        self._awaited = world.awaited()
        if moved_devices(ticked.moves):
            cover(self.veil, self.city.files, self.settings)
            self.picture.become(self.city)
            self._pace()
            self.pump.forget()
        self.picture.update(world, ticked, now_ms)
        self.counter.settle(n, ticked.changes.refused)
        self.register.ticked(n)
        self.keeper.offer(world, n, self.book)


@contextlib.contextmanager
def _damage_told(settings: Settings) -> Iterator[None]:
    """Say of data that cannot be read which file it is and what to do. Raises TwinError."""
    data = Path(settings.data_dir)
    fix = "restore the data directory from a backup, or give this server another one (data_dir)"
    try:
        yield
    except JournalBroken as error:
        raise error if "backup" in str(error) else JournalBroken(f"{error}; {fix}") from error
    except sqlite3.DatabaseError as error:
        raise JournalBroken(f"{data / 'journal.db'} cannot be read: {error}; {fix}") from error
    except DatabaseError as error:
        if settings.cases.url:
            fix = "see that the database server runs and lets this user in ([cases] url, password_file)"
        raise TwinError(f"{case_place(settings)} cannot be read or written: {error.orig}; {fix}") from error
    except OSError as error:
        if error.filename is None:
            raise
        if isinstance(error, PermissionError):
            fix = f"give all of {data} to the user that runs the server (chown -R), or set data_dir to another place"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "make room on that disk"
        elif error.errno == errno.EROFS:
            fix = "mount it for writing, or set data_dir to another place"
        raise TwinError(f"{error.filename} cannot be used: {error.strerror}; {fix}") from error


def _ours(data: Path) -> None:
    """Every part of the data directory must be ours to read and write, or each would tell of it in words of its own.
    Raises TwinError naming the first that is not."""
    for path in (data, *data.iterdir(), *(data / "store").glob("*"), *(data / "checkpoints").glob("*")):
        needed = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
        if not os.access(path, needed, effective_ids=True) and path.exists():  # logs of databases come and go
            raise TwinError(
                f"{path} cannot be read and written by user {os.geteuid()}: give all of {data} to the user that runs "
                "the server (chown -R), or set data_dir to another place"
            )


def _within(seconds: float, stop: Callable[[], object]) -> None:
    """Stop a part that may hang on the network, but go on without it after so long: its work is in the journal."""
    thread = threading.Thread(target=stop, name="stopping", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        LOG.warning("the store does not answer; what it lacks is in the journal")


def _tls(settings: Settings) -> ssl.SSLContext:
    told = settings.broker
    try:
        context = ssl.create_default_context(cafile=told.ca_file or None)
        if told.cert_file:
            context.load_cert_chain(told.cert_file, told.key_file or None)
    except OSError as error:
        raise SettingsError(f"[broker] ca_file, cert_file or key_file cannot be used: {error}") from error
    return context
