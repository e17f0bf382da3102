"""What devices of each kind can be told, and what each order takes: one table for API, command line and fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.errors import DeviceError

Arguments = Mapping[str, str | float | bool]
LONGEST = 200  # characters of a text


class OrderWrong(DeviceError):
    """An order that a kind does not know, or arguments that do not fit: the message says what does."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: a number within low..high, or a text (`low` None)."""

    low: float | None = None
    high: float = 0.0
    needed: bool = False


# `desires`: the argument that the device is to report from then on, and as which quantity.
@dataclass(frozen=True, slots=True)
class OrderKind:
    """One thing that a device can be told."""

    arguments: Mapping[str, Argument]
    desires: tuple[str, str] | None = None
    en: str = ""
    zh: str = ""


REPORT = OrderKind({}, en="report at once", zh="立即上报")
TEXT = OrderKind({"en": Argument(), "zh": Argument()}, en="show a text", zh="显示文字")
DIM = OrderKind(
    {"level": Argument(0.0, 1.0, needed=True), "minutes": Argument(1.0, 1440.0)}, ("level", "dimmingLevel"),
    "dim the lamp", "调光",
)  # fmt: skip
ORDERS: Mapping[str, Mapping[str, OrderKind]] = {
    "pole": {"dim": DIM, "report": REPORT, "speak": TEXT},
    "cell": {"report": REPORT},
    "truck": {"text": TEXT, "report": REPORT},
    "feeder": {"report": REPORT},
    "gateway": {"report": REPORT},
}


def check_order(kind: str, action: str, arguments: Mapping[str, object]) -> None:
    """Raises OrderWrong where a kind is not told that, or not so."""
    known = ORDERS.get(kind, {})
    if action not in known:
        raise OrderWrong(f"a {kind} is not told {action[:40]!r}; it can be told: {', '.join(known) or 'nothing'}")
    wanted = known[action].arguments
    for name, value in arguments.items():
        if name not in wanted:
            raise OrderWrong(f"{action} takes no {name[:40]!r}; it takes: {', '.join(wanted) or 'nothing'}")
        bound = wanted[name]
        if bound.low is None:
            if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
                raise OrderWrong(f"{action}: {name} is text of 1 to {LONGEST} letters")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not bound.low <= value <= bound.high:
            raise OrderWrong(f"{action}: {name} is a number within {bound.low:g}..{bound.high:g}")
    for name, bound in wanted.items():
        if bound.needed and name not in arguments:
            raise OrderWrong(f"{action} needs {name}")
    if action in ("text", "speak") and not arguments:
        raise OrderWrong(f"{action} needs en or zh")
