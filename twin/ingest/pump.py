"""The pump: link -> columns -> ledger -> journal -> acknowledgement. Nothing is acknowledged before it is durable.

One thread takes what waits, journals it in one go (batch, answers, presence, link events) and has it acknowledged in
bulk. While the journal is full or its disk fails, nothing is acknowledged, the same entries are tried again, `stalled`
says why, the inbox fills, the link stops reading, and the broker's session holds the rest. A message that the journal
will never take is counted, kept readable and set aside, and nothing waits for it. Messages by HTTP go the same way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from devices.records import Kind
from twin.errors import BodyRefused, TwinError
from twin.ingest.columns import SAMPLE_BYTES, SAMPLES, Columniser, Messages, Received
from twin.ingest.cuts import Cuts, cut
from twin.ingest.endpoint import LinkFigures, LinkSettings
from twin.ingest.flood import REASON as FLOOD
from twin.ingest.forms import Registry
from twin.ingest.frames import Parcel
from twin.ingest.inbox import TAKE_BYTES
from twin.ingest.ledger import Ledger
from twin.ingest.link import Link
from twin.ingest.parts import Window
from twin.ingest.samples import Samples
from twin.records import NOT_ACCOUNTABLE, Batch, Body, Refused, Reject
from twin.records import Link as LinkEvent

LOG = logging.getLogger(__name__)

IDLE_S = 0.5  # how long to wait for something to do
RETRY_S = (0.05, 2.0)  # first and longest wait before trying a refused append again
OFFERS = 20_000  # messages by HTTP that may wait
OFFER_BYTES = 32 * 1024 * 1024
RATE_S = 5.0  # over which rates are smoothed


class IngestFull(TwinError):
    """Too much waits already: nothing was taken; send the same again in a while."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A message that came by HTTP, and who waits for it."""

    topic: bytes
    payload: bytes
    done: Future[int]
    wanted: bool = True  # False: who waited has gone away; the message counts all the same


@dataclass(slots=True)
class Figures:
    """What the pump has done. CPU seconds are its thread's, stage by stage."""

    messages: int = 0
    readings: int = 0
    commits: int = 0
    rate: float = 0.0  # messages a second
    last_messages: int = 0  # in the last commit
    commit_s: float = 0.0  # how long the last append took
    age_s: float = 0.0  # how old the oldest message was when it became durable
    decode_cpu_s: float = 0.0
    account_cpu_s: float = 0.0
    journal_cpu_s: float = 0.0
    faults: int = 0  # messages on which decoding broke down (a fault of ours)
    rated_at: float = field(default_factory=time.monotonic)
    rated_messages: int = 0


class Pump:
    """Ingest as a whole. `append(bodies)` makes them durable and returns the number of the last, or raises."""

    def __init__(
        self,
        settings: LinkSettings,
        registry: Registry,
        ledger: Ledger,
        append: Callable[[Sequence[Body]], int],
        now_ms: Callable[[], int],
        *,
        kinds: Mapping[str, Kind] | None = None,
        window: Window | None = None,
        gather_s: float = 0.02,
    ) -> None:
        """`now_ms`: city time, which is what messages arrive at.

        `gather_s`: so long at least between two commits, unless a megabyte waits: few commits cost little when little
        comes, and many hold nothing up when much does.
        """
        self.link = Link(settings, now_ms)
        self.ledger = ledger
        self.figures = Figures()
        self.stalled = ""  # why nothing can be made durable just now
        self._columniser = Columniser(registry, kinds, window)
        self._samples = Samples()
        self._append = append
        self._now_ms = now_ms
        self._gather_s = gather_s
        self._offers: deque[Offer] = deque()
        self._offer_bytes = 0
        self._lock = threading.Lock()  # guards the offers and the orders
        self._orders: deque[Callable[[], None]] = deque()
        self._stopping = threading.Event()
        self._forget = threading.Event()
        self._committed_at = 0.0
        self._thread = threading.Thread(target=self._run, name="ingest-pump", daemon=True)

    def start(self) -> None:
        """Connect and begin."""
        self._thread.start()
        self.link.start()

    def stop(self) -> None:
        """Finish what is in hand, acknowledge it, disconnect. What waits is not lost: the broker has it."""
        self.halt()
        self.link.stop()

    def halt(self) -> None:
        """Finish what is in hand and take no more; the link stands until `stop`, for the marks of what was taken."""
        self._stopping.set()
        self.link.inbox.interrupt()
        if self._thread.ident is not None:
            self._thread.join()
        self._do_orders()
        with self._lock:
            waiting = list(self._offers)
            self._offers.clear()
        _refuse([_begin(offer) for offer in waiting])

    def forget(self) -> None:
        """The registry changed: look every topic up again."""
        self._forget.set()

    def offer(self, topic: str, payload: bytes) -> Future[int]:
        """Hand in a message that came by HTTP; any thread. The future gives the journal's number once it is durable.

        The future raises IngestFull where too much waits: nothing was taken.
        """
        one = Offer(topic.encode(errors="replace"), payload, Future())
        with self._lock:
            full = len(self._offers) >= OFFERS or self._offer_bytes + len(payload) > OFFER_BYTES
            if not full and not self._stopping.is_set():
                self._offers.append(one)
                self._offer_bytes += len(payload)
        if full or self._stopping.is_set():
            if not one.done.done():
                one.done.set_exception(IngestFull("too much waits to be journalled; send the same again in a while"))
            return one.done
        self.link.inbox.interrupt()
        return one.done

    def journal(self, bodies: Sequence[Body], renewed: Sequence[tuple[str, int]] = ()) -> Future[int]:
        """Journal these in order with what comes in; the future gives the number of the last. `renewed`: (kind, row)
        for which other hardware speaks from there on. Any thread; while ingest does not run, it is done at once."""
        done: Future[int] = Future()

        def do() -> None:
            try:
                n = self._append(bodies)
            except (TwinError, OSError, ValueError, TypeError) as error:
                done.set_exception(error)
                return
            for kind, row in renewed:
                self.ledger.renew(kind, row, n)
            done.set_result(n)

        with self._lock:
            running = self._thread.is_alive() and not self._stopping.is_set()
            if running:
                self._orders.append(do)
        if running:
            self.link.inbox.interrupt()
        else:
            do()
        return done

    def link_state(self) -> LinkFigures:
        """How the link stands."""
        return self.link.figures

    def stages(self) -> dict[str, dict[str, float]]:
        """Depth, age, rate and CPU of each stage, for /metrics."""
        link, own, inbox = self.link.figures, self.figures, self.link.inbox
        age = max(0.0, (self._now_ms() - inbox.oldest_ms) / 1000) if inbox.oldest_ms else 0.0
        idle = time.monotonic() - own.rated_at > RATE_S
        return {
            "link": {
                "up": float(link.state == "up"), "drained": float(link.drained), "messages_total": float(link.messages),
                "bytes_total": float(link.bytes), "connections_total": float(link.connections),
                "markers_total": float(link.markers), "markers_back_total": float(link.markers_back),
                "stale_acks_total": float(link.stale_acks), "full_seconds_total": link.full_s,
                "cpu_seconds_total": link.cpu_s,
            },
            "inbox": {"depth_bytes": float(inbox.bytes), "bound_bytes": float(inbox.limit), "age_seconds": age},
            "offers": {"depth": float(len(self._offers)), "depth_bytes": float(self._offer_bytes), "bound": OFFERS},
            "decode": {
                "messages_total": float(own.messages), "readings_total": float(own.readings),
                "rate": 0.0 if idle else own.rate, "faults_total": float(own.faults),
                "cpu_seconds_total": own.decode_cpu_s,
            },
            "account": {"cpu_seconds_total": own.account_cpu_s},
            "journal": {
                "commits_total": float(own.commits), "commit_seconds": own.commit_s,
                "batch_messages": float(own.last_messages), "age_seconds": own.age_s,
                "cpu_seconds_total": own.journal_cpu_s, "stalled": float(bool(self.stalled)),
            },
        }  # fmt: skip

    def _run(self) -> None:
        inbox = self.link.inbox
        while not self._stopping.is_set():
            taken = inbox.take(IDLE_S)
            self._do_orders()
            offers = self._take_offers()
            if taken or offers:
                wait = self._gather_s - (time.monotonic() - self._committed_at)
                lacking = TAKE_BYTES - sum(one.size for one in taken if isinstance(one, Parcel))
                if wait > 0 and lacking > 0:
                    inbox.gather(wait, lacking)
                    taken += inbox.take(0)
                    offers += self._take_offers()
                self._pass_on(taken, offers)

    def _do_orders(self) -> None:
        """Journal what was ordered; in its place among the batches."""
        while self._orders:
            with self._lock:
                order = self._orders.popleft()
            order()

    def _take_offers(self) -> list[Offer]:
        with self._lock:
            taken = list(self._offers)
            self._offers.clear()
            self._offer_bytes = 0
        return [_begin(offer) for offer in taken]

    def _pass_on(self, taken: Sequence[Parcel | LinkEvent], offers: Sequence[Offer]) -> None:
        """Make everything durable, then acknowledge it."""
        if self._forget.is_set():
            self._forget.clear()
            self._columniser.forget()
        parcels = [one for one in taken if isinstance(one, Parcel)]
        events = [one for one in taken if isinstance(one, LinkEvent)]
        number_of_batch = next((i for i, event in enumerate(events) if event.state != "up"), len(events))
        messages: list[Messages] = [(some, p.arrived_ms) for p in parcels for some in p.cuts]
        if offers:
            messages.append((cut([o.topic for o in offers], [o.payload for o in offers]), self._now_ms()))
        last = self._journal(messages, events[:number_of_batch], events[number_of_batch:])
        if last is None:
            _refuse(offers)
            return  # stopping while the journal refuses: nothing is acknowledged
        self.link.inbox.acknowledge(parcels)
        for offer in offers:
            if offer.wanted:
                offer.done.set_result(last)
        self._note(parcels)

    def _journal(
        self, messages: Sequence[Messages], before: Sequence[LinkEvent] = (), after: Sequence[LinkEvent] = ()
    ) -> int | None:
        """Make messages durable between link events. Number of the last entry; None: stopping while none is taken."""
        began = time.thread_time()
        received = self._columnise(messages)
        decoded = time.thread_time()
        batch = self._thinned(self.ledger.admit(received.batch), received)
        admitted = time.thread_time()
        bodies: list[Body] = [*before, batch, *received.answers, *received.presences, *after]
        if not batch.messages:
            del bodies[len(before)]
        try:
            last = self._append_until_durable(bodies) if bodies else 0
        except (BodyRefused, TypeError, ValueError) as error:
            return self._journal_apart(messages, before, after, error)
        if last is None:
            return None
        journalled = time.thread_time()
        if batch.messages:
            self.ledger.commit(batch, last - len(bodies) + 1 + len(before))
        self._count(batch, (began, decoded, admitted, journalled))
        return last

    def _thinned(self, batch: Batch, received: Received) -> Batch:
        """The batch with an example of each flood, and no more samples than may be kept."""
        samples = batch.samples
        for kind, row, reason in batch.rejected:
            if reason == FLOOD and (found := received.newest(kind, row)) is not None:
                arrived, topic, payload = found
                detail = f"{batch.rejected[kind, row, reason]} readings more than its cadence allows"
                name = topic[:256].decode(errors="replace")
                samples = (*samples, Reject(arrived, name, FLOOD, detail, payload[:SAMPLE_BYTES]))
        return replace(batch, samples=self._samples.thin(samples[-SAMPLES:], time.monotonic())) if samples else batch

    def _journal_apart(
        self, messages: Sequence[Messages], before: Sequence[LinkEvent], after: Sequence[LinkEvent], error: Exception
    ) -> int | None:
        """One of these will never be taken: find it by halves, so that nothing else is lost or waits with it."""
        if before or after:
            parts = [((), (one,)) for one in before] + [(messages, ())] + [((), (one,)) for one in after]
            if len(before) + len(after) == 1 and not messages:
                LOG.error("a link event is left out, the journal refuses it for good: %s", error)
                self.figures.faults += 1
                return 0
        else:
            count = sum(len(some) for some, _ in messages)
            if count == 1:
                return self._set_aside(next(one for one in messages if len(one[0])), error)
            parts = [(half, ()) for half in _halves(messages, count // 2)]
        last = 0
        for some, events in parts:
            done = self._journal(some, events)
            if done is None:
                return None
            last = max(last, done)
        return last

    def _set_aside(self, message: Messages, error: Exception) -> int | None:
        """Count a message that the journal refuses, keep it readable, and let its numbers count as come."""
        some, arrived = message
        topic, payload = some.topic(0), some.payload(0)
        name = topic[:256].decode(errors="replace")
        LOG.error("a message on %s is set aside, the journal refuses it for good: %s", name, error)
        self.figures.faults += 1
        said = Reject(arrived, name, "shape", f"the journal refuses it: {error}"[:256], payload[:SAMPLE_BYTES])
        refused = tuple(
            Refused(c.kind, int(row), int(boot), int(seq), "shape")
            for c in self._columnise([message]).batch.columns
            for row, boot, seq in zip(c.row, c.boot, c.seq, strict=True)
            if boot != NOT_ACCOUNTABLE
        )
        nobody = {} if refused else {("", -1, "shape"): 1}
        batch = self.ledger.admit(Batch(messages=1, rejected=nobody, samples=(said,), refused=refused))
        try:
            last = self._append_until_durable([batch])
        except (BodyRefused, TypeError, ValueError) as again:
            LOG.error("not even its account is taken: %s", again)
            return 0
        if last is not None:
            self.ledger.commit(batch, last)
        return last

    def _columnise(self, messages: Sequence[Messages]) -> Received:
        try:
            return self._columniser.columnise(messages)
        except Exception:
            LOG.exception("decoding broke down; the messages are tried one by one")
            return self._without_faulty(messages)

    def _without_faulty(self, messages: Sequence[Messages]) -> Received:
        """A fault of ours must not stop ingest, nor cost more than the messages that show it."""
        good: list[Messages] = []
        said: list[Reject] = []
        for some, arrived in messages:
            keep: list[tuple[bytes, bytes]] = []
            for topic, payload in zip(some.topics, some.payloads, strict=True):
                try:
                    self._columniser.columnise([(cut([topic], [payload]), arrived)])
                except Exception:  # noqa: BLE001 whatever it is, it is counted, shown, and logged by the caller
                    name = topic[:256].decode(errors="replace")
                    said.append(Reject(arrived, name, "shape", "decoding broke down", payload[:SAMPLE_BYTES]))
                else:
                    keep.append((topic, payload))
            good.append((cut([topic for topic, _ in keep], [payload for _, payload in keep]), arrived))
        received = self._columniser.columnise(good)
        self.figures.faults += len(said)
        batch = received.batch
        batch.messages += len(said)
        batch.rejected["", -1, "shape"] = batch.rejected.get(("", -1, "shape"), 0) + len(said)
        batch.samples = (*batch.samples, *said)[-SAMPLES:]
        return received

    def _append_until_durable(self, bodies: Sequence[Body]) -> int | None:
        """The number of the last entry; None where we were told to stop while there is no room or the disk fails.

        Raises BodyRefused (or what else says that trying again is in vain): nothing was kept.
        """
        wait, longest = RETRY_S
        while True:
            began = time.monotonic()
            try:
                last = self._append(bodies)
            except BodyRefused:
                raise
            except (TwinError, OSError) as error:
                if not self.stalled:
                    LOG.warning("nothing is acknowledged, the broker holds: %s", error)
                self.stalled = str(error) or type(error).__name__
                if self._stopping.wait(wait):
                    return None
                wait = min(longest, wait * 2)
            else:
                if self.stalled:
                    LOG.info("the journal takes entries again")
                self.stalled = ""
                self._committed_at = time.monotonic()
                self.figures.commit_s = self._committed_at - began
                return last

    def _count(self, batch: Batch, at: tuple[float, float, float, float]) -> None:
        own, (began, decoded, admitted, journalled) = self.figures, at
        own.decode_cpu_s += decoded - began
        own.journal_cpu_s += journalled - admitted
        own.account_cpu_s += admitted - decoded + time.thread_time() - journalled
        own.messages += batch.messages
        own.readings += len(batch)
        own.commits += 1
        own.last_messages = batch.messages

    def _note(self, parcels: Sequence[Parcel]) -> None:
        own = self.figures
        if parcels:
            own.age_s = max(0.0, (self._now_ms() - parcels[0].arrived_ms) / 1000)
        now = time.monotonic()
        if now - own.rated_at >= RATE_S / 5:
            share = min(1.0, (now - own.rated_at) / RATE_S)
            latest = (own.messages - own.rated_messages) / (now - own.rated_at)
            own.rate += (latest - own.rate) * share
            own.rated_at, own.rated_messages = now, own.messages


def _halves(messages: Sequence[Messages], first: int) -> tuple[list[Messages], list[Messages]]:
    """The first so many messages, and the others."""
    left: list[Messages] = []
    right: list[Messages] = []
    for some, arrived in messages:
        here = min(first, len(some))
        first -= here
        left.append((Cuts(some.data, some.bounds[:, :here]), arrived))
        right.append((Cuts(some.data, some.bounds[:, here:]), arrived))
    return [one for one in left if len(one[0])], [one for one in right if len(one[0])]


def _begin(offer: Offer) -> Offer:
    """From here on the waiting side can no longer cancel; where it has already, it is not told."""
    return replace(offer, wanted=offer.done.set_running_or_notify_cancel())


def _refuse(offers: Sequence[Offer]) -> None:
    for offer in offers:
        if offer.wanted:
            offer.done.set_exception(IngestFull("the server is stopping; send the same again"))
