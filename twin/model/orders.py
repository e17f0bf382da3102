"""Orders to devices: what was asked of whom, whether it was sent, answered, in time; what each should report since.

A fold of actions, outcomes and answers; deterministic. An order is sent again under its own id, which a device carries
out once, until it answers or has had its attempts. Desired values stay until they lapse or another order takes their
place, whatever became of the order: the difference to what is reported is for people to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from devices.orders import ORDERS, OrderWrong, check_order
from devices.topics import Topic
from twin.city import City
from twin.records import Action, Answer, Delivery, Outcome

VERB = "command"
ANSWER_MS = 30_000  # from sending to the answer
ATTEMPTS = 3
KEPT = 2000  # orders remembered
WAITING = ("waiting", "sent")


@dataclass(frozen=True, slots=True)
class Order:
    """One order. state: waiting (to be sent), sent, done, refused (by the device), timeout, undelivered."""

    id: str
    device: str
    action: str
    arguments: Mapping[str, Any]
    actor: str
    reason: str
    at_ms: int
    state: str = "waiting"
    attempts: int = 1
    due_ms: int = 0
    answered_ms: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Desired:
    """What a device should report of a quantity, since which order, until when (0: until told otherwise)."""

    quantity: str
    value: float
    order: str
    since_ms: int
    until_ms: int = 0


@dataclass(slots=True)
class Orders:
    """All orders of a city that are remembered, and what is desired by device."""

    known: dict[str, Order] = field(default_factory=dict)
    desired: dict[str, dict[str, Desired]] = field(default_factory=dict)
    changes: int = 0  # of what is desired, so far

    def step(
        self, actions: Sequence[Action], outcomes: Sequence[Outcome], answers: Sequence[Answer], city: City, now_ms: int
    ) -> tuple[list[Delivery], list[tuple[str, str]]]:
        """One tick: what is to be sent, and the orders that were refused, each with why."""
        sent: list[Delivery] = []
        refused: list[tuple[str, str]] = []
        for action in actions:
            if action.verb == VERB and action.id not in self.known:
                try:
                    sent.append(self._take(action, city, now_ms))
                except OrderWrong as why:
                    refused.append((action.id, str(why)))
        for outcome in outcomes:
            self._outcome(outcome, now_ms)
        for answer in answers:
            self._answer(answer, now_ms)
        for order in [one for one in self.known.values() if one.state in WAITING and now_ms >= one.due_ms]:
            again = self._late(order, city, now_ms)
            sent += [again] if again is not None else []
        self._lapse(city, now_ms)
        return sent, refused

    def _take(self, action: Action, city: City, now_ms: int) -> Delivery:
        told = action.arguments
        name, what, arguments = str(told.get("device")), str(told.get("action")), dict(told.get("arguments") or {})
        device = city.describe(name)
        if device is None:
            raise OrderWrong(f"there is no device {name[:64]!r}")
        check_order(device.kind, what, arguments)
        order = Order(action.id, name, what, arguments, action.actor, action.reason, now_ms, due_ms=now_ms + ANSWER_MS)
        self.known[order.id] = order
        wish = ORDERS[device.kind][what].desires
        if wish is not None:
            minutes = float(arguments.get("minutes", 0))
            until = now_ms + round(minutes * 60_000) if minutes else 0
            value = Desired(wish[1], float(arguments[wish[0]]), order.id, now_ms, until)
            self.desired.setdefault(name, {})[wish[1]] = value
            self.changes += 1
        done = [one.id for one in self.known.values() if one.state not in WAITING]
        for old in done[: max(0, len(self.known) - KEPT)]:
            del self.known[old]
        return self._delivery(order, city)

    def _delivery(self, order: Order, city: City) -> Delivery:
        device = city.describe(order.device)
        assert device is not None
        topic = str(Topic(device.district, device.kind, device.id, "cmd"))
        payload = {"topic": topic, "id": order.id, "action": order.action, "arguments": dict(order.arguments)}
        return Delivery(f"order:{order.id}:{order.attempts}", "", "mqtt", device.id, "command", payload)

    def _outcome(self, outcome: Outcome, now_ms: int) -> None:
        head, _, rest = outcome.key.partition(":")
        order = self.known.get(rest.rpartition(":")[0]) if head == "order" else None
        if order is None or order.state != "waiting" or not outcome.final:
            return
        state = "sent" if outcome.ok else "undelivered"
        self.known[order.id] = replace(order, state=state, due_ms=now_ms + ANSWER_MS, detail=outcome.detail[:200])

    def _answer(self, answer: Answer, now_ms: int) -> None:
        order = self.known.get(answer.key)
        if order is None or order.device != answer.device or order.state in ("done", "refused"):
            return
        state = "done" if answer.ok else "refused"
        self.known[order.id] = replace(order, state=state, answered_ms=now_ms, detail=answer.detail[:200])

    def _late(self, order: Order, city: City, now_ms: int) -> Delivery | None:
        if order.attempts >= ATTEMPTS or city.describe(order.device) is None:
            self.known[order.id] = replace(order, state="timeout", detail="the device did not answer")
            return None
        again = replace(order, attempts=order.attempts + 1, state="waiting", due_ms=now_ms + ANSWER_MS)
        self.known[order.id] = again
        return self._delivery(again, city)

    def _lapse(self, city: City, now_ms: int) -> None:
        for device, wishes in list(self.desired.items()):
            if city.describe(device) is None:  # retired: nothing is desired of it any more
                wishes.clear()
                self.changes += 1
            for quantity, wish in list(wishes.items()):
                if wish.until_ms and now_ms >= wish.until_ms:
                    del wishes[quantity]
                    self.changes += 1
            if not wishes:
                del self.desired[device]

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        wishes = {device: [asdict(one) for one in some.values()] for device, some in self.desired.items()}
        return {"orders": [asdict(order) for order in self.known.values()], "desired": wishes}

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what was dumped."""
        self.changes += 1
        self.known = {one["id"]: Order(**one) for one in told.get("orders", ())}
        self.desired = {
            device: {one["quantity"]: Desired(**one) for one in some}
            for device, some in told.get("desired", {}).items()
        }
