"""Orders to devices: sent, answered, late, given up; what is desired until when; the same after a restart."""

from __future__ import annotations

import pytest

from devices.kinds import KINDS
from devices.orders import ORDERS, OrderWrong, check_order
from tests.twin.tick.town import MINUTE, NIGHT_MS, Day, Tally, town
from twin.model.orders import ANSWER_MS, ATTEMPTS, Orders
from twin.records import Action, Answer, Delivery, Outcome
from twin.tick import World

CITY = town()


def ask(device: str = "pole-1", action: str = "dim", name: str = "order:1", **arguments: object) -> Action:
    told = {"device": device, "action": action, "arguments": arguments}
    return Action(name, "li", "command", "", "star night", told)


def outcome(sent: Delivery, ok: bool = True) -> Outcome:
    return Outcome(sent.key, "mqtt", ok, 0, 1, final=True)


def test_an_order_is_sent_answered_and_desired_until_its_time() -> None:
    """Topic, id and arguments; done by the device's answer; the desired value lapses with its minutes."""
    orders = Orders()
    (sent,), refused = orders.step([ask(level=0.4, minutes=10)], (), (), CITY, NIGHT_MS)
    assert not refused
    assert sent.payload["topic"] == "city/010101/pole/pole-1/cmd"
    assert (sent.payload["id"], sent.payload["arguments"], sent.channel) == (
        "order:1",
        {"level": 0.4, "minutes": 10},
        "mqtt",
    )
    assert orders.desired["pole-1"]["dimmingLevel"].value == 0.4
    assert orders.step([ask(level=0.4, minutes=10)], (), (), CITY, NIGHT_MS + 1) == ([], [])
    orders.step((), [outcome(sent)], (), CITY, NIGHT_MS + 1000)
    assert orders.known["order:1"].state == "sent"
    orders.step((), (), [Answer("pole-2", "order:1", True)], CITY, NIGHT_MS + 2000)
    assert orders.known["order:1"].state == "sent", "another device's answer is none"
    orders.step((), (), [Answer("pole-1", "order:1", True, "done")], CITY, NIGHT_MS + 3000)
    assert (orders.known["order:1"].state, orders.known["order:1"].detail) == ("done", "done")
    assert orders.step((), (), (), CITY, NIGHT_MS + 9 * MINUTE) == ([], [])
    assert orders.desired
    orders.step((), (), (), CITY, NIGHT_MS + 10 * MINUTE)
    assert not orders.desired


def test_without_an_answer_it_is_sent_again_under_its_id_and_given_up() -> None:
    """Three attempts with one id and three keys; then timeout; a late answer still counts."""
    orders, now, keys, ids = Orders(), NIGHT_MS, [], []
    sent, _ = orders.step([ask(level=1.0)], (), (), CITY, now)
    for _ in range(ATTEMPTS + 1):
        keys += [one.key for one in sent]
        ids += [one.payload["id"] for one in sent]
        orders.step((), [outcome(one) for one in sent], (), CITY, now + 1)
        now += ANSWER_MS + 2
        sent, _ = orders.step((), (), (), CITY, now)
    assert len(keys) == len(set(keys)) == ATTEMPTS
    assert set(ids) == {"order:1"}
    assert orders.known["order:1"].state == "timeout"
    assert orders.desired["pole-1"], "what is desired stays: the difference is for people to see"
    orders.step((), (), [Answer("pole-1", "order:1", False, "lamp broken")], CITY, now)
    assert orders.known["order:1"].state == "refused"


@pytest.mark.parametrize(
    ("kind", "action", "arguments"),
    [
        ("pole", "burn", {}), ("pole", "dim", {}), ("pole", "dim", {"level": 1.1}), ("pole", "dim", {"level": True}),
        ("pole", "dim", {"level": 0.5, "colour": "red"}), ("pole", "dim", {"level": float("nan")}),
        ("truck", "text", {}), ("truck", "text", {"zh": ""}), ("truck", "text", {"zh": "长" * 201}),
        ("cell", "dim", {"level": 0.5}), ("lamp", "report", {}), ("cell", "report", {"now": True}),
    ],
)  # fmt: skip
def test_what_a_kind_is_not_told_is_refused(kind: str, action: str, arguments: dict[str, object]) -> None:
    """By what it can be told; nothing is sent."""
    with pytest.raises(OrderWrong):
        check_order(kind, action, arguments)


def test_every_order_fits_its_kind() -> None:
    """Kinds and desired quantities exist; the smallest arguments pass."""
    assert set(ORDERS) == set(KINDS)
    for kind, known in ORDERS.items():
        for action, order in known.items():
            least = {n: a.low for n, a in order.arguments.items() if a.needed} or (
                {"zh": "好"} if action in ("text", "speak") else {}
            )
            check_order(kind, action, least)
            assert order.en
            assert order.zh
            if order.desires is not None:
                assert order.desires[1] in KINDS[kind].index


def test_orders_go_through_the_tick_and_survive_a_restart() -> None:
    """The tick sends them, keeps them from the ledger of cases, refuses wrong ones, and the world remembers."""
    day = Day()
    told = day.tick([ask(level=0.3), ask(name="order:2", device="nobody"), ask(name="order:3", action="burn")])
    assert [one.payload["action"] for one in told.changes.deliveries] == ["dim"]
    assert [name for name, _ in told.changes.refused] == ["order:2", "order:3"]
    again = World.load(day.world.dump(), town(), Tally())
    assert again.orders == day.world.orders
    assert again.orders.known["order:1"].arguments == {"level": 0.3}
