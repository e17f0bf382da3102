"""The back-test beside a running city: one at a time, in a process of its own that gives way to everything else.

It reads a copy of the store made of links (what is hot is sealed first), so that it costs ingest and queries nothing
but what the machine has left: the process has the lowest priority for CPU and disk, and is the first to go when memory
is short. It ends with the server, however that ends: its pipe breaks.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow as pa

from devices.errors import DeviceError
from twin.app.backtest import Order, backtest
from twin.errors import BacktestRuns, TwinError
from twin.query.backtest import Ask
from twin.store.backup import open_copy

LOG = logging.getLogger(__name__)

MOST = 1000  # whistles told of each list; `counts` has their numbers
LISTS = ("gained", "lost", "earlier", "later")
TELL_S = 0.25
END_S = 10.0
NOTHING: dict[str, Any] = {
    "id": "", "state": "none", "share": 0.0, "detail": "", "actor": "", "started_ms": 0, "ended_ms": 0, "from_ms": 0,
    "to_ms": 0, "rules": {}, "result": None,
}  # fmt: skip
RUNS = ("copying", "learning", "comparing")


class End(NamedTuple):
    """How a back-test ended; told once its copy is put away."""

    state: str
    detail: str = ""
    result: Mapping[str, Any] | None = None


class Backtesting:
    """`twin.query.backtest.Backtests` over one running server. `stop` before the store is closed."""

    def __init__(self, folder: Path, order: Callable[[Ask], Order], copy: Callable[[Path], object]) -> None:
        """`folder`: for copies, emptied now. `order`: works out what is asked for; `copy`: copies the store to a new
        directory."""
        self._folder, self._order, self._copy = folder, order, copy
        self._lock = threading.Lock()
        self._told = dict(NOTHING)
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None
        shutil.rmtree(folder, ignore_errors=True)  # a server that was killed left its copy

    def start(self, ask: Ask, actor: str) -> Mapping[str, Any]:
        with self._lock:
            if self._told["state"] in RUNS:
                raise BacktestRuns(f"a back-test that {self._told['actor']} started is running; cancel it or wait")
            order = self._order(ask)
            self._told = NOTHING | {
                "id": uuid.uuid4().hex, "state": "copying", "actor": actor, "started_ms": _machine_ms(),
                "from_ms": order.start_ms, "to_ms": order.end_ms, "rules": dict(ask.rules),
            }  # fmt: skip
            self._cancelled.clear()
            self._thread = threading.Thread(target=self._run, args=(order,), name="backtest", daemon=True)
            self._thread.start()
            return dict(self._told)

    def state(self) -> Mapping[str, Any]:
        with self._lock:
            return dict(self._told)

    def cancel(self) -> Mapping[str, Any]:
        self._cancelled.set()
        if self._thread is not None:
            self._thread.join(END_S)
        return self.state()

    def stop(self) -> None:
        """The server ends."""
        self.cancel()

    def _run(self, order: Order) -> None:
        try:
            end = self._watched(order)
        except (TwinError, OSError) as error:
            end = End("failed", str(error))
        except Exception as error:
            LOG.exception("the back-test broke")
            end = End("failed", f"it broke ({error!r}); the log says where")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._end(end)

    def _watched(self, order: Order) -> End:
        """Copy, start the process, and tell what it tells, until it ends or is to end: how it ended."""
        copy = self._folder / "copy"
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._copy(copy)
        if self._cancelled.is_set():
            return End("cancelled")
        spawn = multiprocessing.get_context("spawn")  # never forked: this process has threads
        ours, theirs = spawn.Pipe(duplex=False)
        child = spawn.Process(target=_in_its_process, args=(copy, order, theirs), name="backtest", daemon=True)
        child.start()
        theirs.close()
        try:
            while not self._cancelled.is_set():
                if not ours.poll(0.2):
                    continue
                what, told = ours.recv()
                if what == "done":
                    return End("done", result=told)
                if what == "failed":
                    return End("failed", told)
                self._note(state=what, share=told)
            return End("cancelled")
        except EOFError:
            child.join(END_S)
            code = child.exitcode
            why = f"signal {-code}: perhaps memory ran out" if code is not None and code < 0 else f"status {code}"
            return End("failed", f"its process ended by {why}; ask for a shorter span")
        finally:
            ours.close()
            child.terminate()
            child.join(END_S)
            if child.is_alive():
                child.kill()
                child.join()

    def _note(self, **told: Any) -> None:
        with self._lock:
            self._told = self._told | told

    def _end(self, end: End) -> None:
        share = 1.0 if end.state == "done" else self._told["share"]
        self._note(**end._asdict(), share=share, ended_ms=_machine_ms())
        LOG.info("back-test of %s: %s%s", self._told["actor"], end.state, f" ({end.detail})" if end.detail else "")


def _in_its_process(copy: Path, order: Order, way: Connection) -> None:
    """What the process does. Its only word to the server goes by `way`: (state or "done" or "failed", what)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it ends us
    _give_way()
    told_s = 0.0

    def progress(share: float, what: str) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            way.send((what, round(share, 4)))

    try:
        store, _ = open_copy(copy)
        try:
            told = backtest(store, order, progress).told()
        finally:
            store.close()
        way.send(("done", cut(told | {"cpu_s": round(time.process_time(), 2)})))
    except BrokenPipeError:  # the server has gone
        sys.exit(1)
    except (TwinError, DeviceError, MemoryError) as error:
        way.send(("failed", str(error) or "memory ran out; ask for a shorter span"))


def cut(told: dict[str, Any]) -> dict[str, Any]:
    """A result with its lists cut to MOST, and how long they were."""
    counts = {name: len(told[name]) for name in LISTS}
    return told | {name: told[name][:MOST] for name in LISTS} | {"counts": counts}


def _give_way() -> None:
    """Run when nobody else wants to, on one core, and be what is ended first where memory is short."""
    os.nice(19)
    pa.set_cpu_count(1)
    with contextlib.suppress(psutil.Error, AttributeError, OSError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000
