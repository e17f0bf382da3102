"""What is worth sending: deadband, report on change, at least every N seconds, at most every N seconds. Pure.

Report by exception as SCADA does it: a value is compared with the last one that was *sent*, never with the last one
that was seen, so slow drift cannot creep past. States always pass. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from devices.records import Kind, Quantity, Reading


@dataclass(frozen=True, slots=True)
class Rule:
    """How one quantity is thinned out; `quantity`, `kind` and `device` are patterns with * and ?.

    A value passes when it differs from the last one sent by more than `absolute` (in the quantity's unit) and by more
    than `relative` of that one (0.02 = 2 %); with both 0 when it differs at all. It passes anyhow when nothing was
    sent for `longest_s` (0: no such limit), and not yet when something was sent within `shortest_s`.
    """

    quantity: str = "*"
    kind: str = "*"
    device: str = "*"
    absolute: float = 0.0
    relative: float = 0.0
    longest_s: float = 0.0
    shortest_s: float = 0.0

    def fits(self, device: str, kind: str, quantity: str) -> bool:
        """Whether this rule is about that quantity of that device."""
        return (
            fnmatchcase(quantity, self.quantity) and fnmatchcase(kind, self.kind) and fnmatchcase(device, self.device)
        )

    def passes(self, value: float, last: float, elapsed_s: float) -> bool:
        """Whether `value` is to be sent, `elapsed_s` after `last` was. A clock that was set back (< 0) lets it pass.

        >>> Rule(absolute=0.5).passes(20.4, 20.0, 30), Rule(absolute=0.5).passes(20.6, 20.0, 30)
        (False, True)
        """
        if elapsed_s < 0:
            return True
        if elapsed_s < self.shortest_s:
            return False
        if 0 < self.longest_s <= elapsed_s:
            return True
        return abs(value - last) > max(self.absolute, self.relative * abs(last))


class Policy:
    """Rules, first fit first, and what was last sent of each quantity. What no rule fits passes."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._fit: dict[tuple[str, str], Rule | None] = {}
        self._sent: dict[tuple[str, str], tuple[float, float]] = {}  # -> (value, when)

    def sift(self, kind: Kind, reading: Reading, now_s: float) -> Reading | None:
        """The part of a reading that is worth sending, None for nothing; `now_s` is a clock that only goes forward.

        Latitude and longitude pass together: half a position is none.
        """
        if not self._rules:
            return reading
        chosen = {
            name for name, value in reading.values.items() if self._wants(kind, reading.device, name, value, now_s)
        }
        positions = {name for name in reading.values if kind.quantity(name).role == "position"}
        if chosen & positions:
            chosen |= positions
        values = {name: value for name, value in reading.values.items() if name in chosen}
        for name, value in values.items():
            self._sent[reading.device, name] = (value, now_s)
        if not values:
            return None
        return Reading(reading.device, reading.t_ms, values, reading.boot, reading.seq)

    def _wants(self, kind: Kind, device: str, name: str, value: float, now_s: float) -> bool:
        quantity = kind.quantity(name)
        if quantity.role == "state":
            return True
        rule = self._rule(kind, device, quantity)
        sent = self._sent.get((device, name))
        return rule is None or sent is None or rule.passes(value, sent[0], now_s - sent[1])

    def _rule(self, kind: Kind, device: str, quantity: Quantity) -> Rule | None:
        key = (device, quantity.name)
        if key not in self._fit:
            fitting = (rule for rule in self._rules if rule.fits(device, kind.name, quantity.name))
            self._fit[key] = next(fitting, None)
        return self._fit[key]
