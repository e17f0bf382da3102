"""The world: everything that a tick reads and changes, and nothing else. It is checkpointed whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from devices.kinds import KINDS
from devices.places import CityFiles
from twin.city import City
from twin.detect import DETECTORS, Detector, Rules, default_rules
from twin.detect.base import Large, Rule
from twin.detect.explained import Withheld
from twin.errors import CheckpointBroken
from twin.model import KindState
from twin.model.orders import Orders
from twin.records import I32, Action, Answer, Changes, Finding, Names, Outcome
from twin.tick.checkpoint import Later, decode, encode
from twin.tick.desires import Desires
from twin.tick.learnt import Learnt
from twin.tick.link import LinkClock
from twin.tick.migrate import fitted
from twin.tick.refusals import Refusals

LOG = logging.getLogger(__name__)


class Frozen(Protocol):
    """A ledger at one instant."""

    def encode(self) -> dict[str, Any]: ...


class Ledger(Protocol):
    """The ledger of cases, as the tick needs it (twin/whistle/ledger.py)."""

    def step(
        self,
        findings: Sequence[Finding],
        actions: Sequence[Action],
        outcomes: Sequence[Outcome],
        answers: Sequence[Answer],
        now_ms: int,
    ) -> Changes: ...

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        """The city is another one from here on. Cases of subjects that are `gone` are closed for that reason by the
        next step, those of `fresh` ones (other hardware) count as clear."""
        ...

    @property
    def policy_text(self) -> str:
        """The policy that was journalled last; '' where none was."""
        ...

    def rule(self, text: str) -> None:
        """Go on under a journalled policy. Raises SettingsError where this version cannot read it."""
        ...

    def dump(self) -> dict[str, Any]: ...

    def snapshot(self) -> Frozen:
        """The ledger as it is now, quickly; its `encode()` gives what `dump()` would have given, in any thread."""
        ...

    def load(self, told: dict[str, Any]) -> None: ...


class World:
    """The arrays of one area, its detectors, its ledger and its link. `last_tick` is the number of its last tick."""

    def __init__(
        self,
        city: City,
        ledger: Ledger,
        rules: Rules | None = None,
        owns: Callable[[str], bool] | None = None,
    ) -> None:
        """`owns(subject)`: whose findings are this world's to say; those of its halo are its neighbours'. None: all."""
        self.city = city
        self.owns = owns
        self.ledger = ledger
        self.rules = rules if rules is not None else default_rules()
        self.link = LinkClock()
        self.learnt = Learnt()
        self.refusals = Refusals()
        self.orders = Orders()
        self.desires = Desires()
        self.last_tick = 0
        self.models: dict[str, KindState] = {}
        self.fit()
        self.detectors: dict[str, Detector] = {name: make(city, self.rules) for name, make in DETECTORS.items()}
        self.said: dict[str, dict[str, Finding]] = {}  # active findings by key, and by the detector that says them

        self.unsaid: list[tuple[str, Finding]] = []  # for the next tick: what detectors said that start anew
        self.withheld = Withheld()

    @property
    def channels(self) -> int:
        """How many channels are modelled: what its size goes by."""
        return sum(model.expectation.slots for model in self.models.values())

    @property
    def now_ms(self) -> int:
        """City time of the last tick."""
        return self.link.now_ms

    def fit(self) -> None:
        """Make the models as large as the city (it may have got devices)."""
        for kind in self.city.registry.kinds():
            if kind in KINDS:
                self.models.setdefault(kind, KindState(kind)).ensure(self.city.rows(kind))

    def _remembers(self, name: str, told: Mapping[str, Any]) -> bool:
        """Give a detector its memory back; where it cannot be read any more, the detector starts anew."""
        detector = self.detectors.get(name)
        if detector is None:
            return False
        try:
            detector.load(fitted(detector.dump(), told))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            LOG.warning("what %s remembered does not fit this version (%r): it starts anew", name, error)
            self.detectors[name] = DETECTORS[name](self.city, self.rules)
            return False
        return True

    def awaited(self) -> dict[str, I32]:
        """Rows by kind, sorted, whose next reading may complete what must be said at once: it wants a tick soon."""
        found: dict[str, list[I32]] = {}
        for detector in self.detectors.values():
            if isinstance(detector, Rule) and detector.prompt and len(rows := detector.latch.coming()):
                found.setdefault(detector.kind, []).append(rows)
        return {kind: np.unique(np.concatenate(rows)) for kind, rows in found.items()}

    def active(self) -> list[Finding]:
        """What is wrong now, by key."""
        return [next(iter(self.said[key].values())) for key in sorted(self.said)]

    def settle(self, findings: Iterable[tuple[str, Finding]]) -> list[Finding]:
        """Let each (type, subject) be said once and unsaid once, though several detectors may see the same thing."""
        kept = []
        for detector, finding in self.withheld.step(findings, self.said, self.detectors, self.city, self.now_ms):
            if self.owns is not None and not self.owns(finding.subject):
                continue
            sayers = self.said.get(finding.key)
            if finding.active:
                if sayers is None:
                    self.said[finding.key] = {detector: finding}
                    kept.append(finding)
                else:
                    sayers.setdefault(detector, finding)
            elif sayers is not None and sayers.pop(detector, None) is not None and not sayers:
                del self.said[finding.key]
                kept.append(finding)
        return kept

    # ---- checkpoint --------------------------------------------------------------------------------------------

    def snapshot(self, *, copied: bool = True) -> dict[str, Any]:
        """A copy of everything, as fast as arrays can be copied; `encode` it in any thread.

        Of what does not change once it is made (findings, what the ledger holds) only the references are copied here.
        With `copied` False large arrays are not copied either: the tree is good until the next tick, or in a forked
        process. Nothing here waits for a lock.
        """
        said = {key: dict(sayers) for key, sayers in self.said.items()}
        ledger = self.ledger.snapshot()
        return {
            "last_tick": self.last_tick,
            "learnt": self.learnt.dump(),
            "refusals": self.refusals.dump(),
            "link": {
                "state": self.link.state,
                "counted_ms": self.link.counted_ms,
                "now_ms": self.link.now_ms,
                "counting": self.link.counting,
                "away": self.link.away,
            },
            "city": self.city.version,
            "orders": [self.orders.dump()],
            "rules": self.rules.overrides(),
            "names": self.city.registry.names(),
            "quantities": {kind: list(model.quantities) for kind, model in self.models.items()},
            "models": {kind: model.dump() if copied else model.views() for kind, model in self.models.items()},
            "detectors": {
                name: dict(d.views() if not copied and isinstance(d, Large) else d.dump())
                for name, d in self.detectors.items()
            },
            "withheld": [[name, _finding_out(finding)] for name, finding in self.withheld.held.values()],
            "said": Later(lambda: {k: {d: _finding_out(f) for d, f in sayers.items()} for k, sayers in said.items()}),
            "ledger": Later(lambda: [ledger.encode()]),  # a list: one JSON value
        }

    def dump(self) -> bytes:
        """The whole world as bytes: `encode(self.snapshot())`."""
        return encode(self.snapshot(copied=False))

    @classmethod
    def load(
        cls,
        data: bytes | memoryview,
        city: City,
        ledger: Ledger,
        rules: Rules | None = None,
        files_of: Callable[[int], CityFiles] | None = None,
    ) -> World:
        """The world that was dumped as bytes, which stay the caller's; else like `revived`."""
        return cls.revived(decode(data), city, ledger, rules, files_of)

    @classmethod
    def revived(
        cls,
        told: Mapping[str, Any],
        city: City,
        ledger: Ledger,
        rules: Rules | None = None,
        files_of: Callable[[int], CityFiles] | None = None,
    ) -> World:
        """The world of a tree that `snapshot` gave, over today's city (which may have more devices) and a fresh ledger.
        The world's arrays are those of the tree from here on.

        With `files_of(version)` the city becomes the one of the dump: what was changed since is still to be ticked.
        Detectors and quantities that did not exist then start empty. Raises CheckpointBroken on damage, or where the
        checkpoint gives a row another device than the registry does.
        """
        world = cls(city, ledger, rules)
        try:
            world._take_over(told, files_of)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise CheckpointBroken(f"the checkpoint does not fit: {error!r}") from error
        return world

    def _take_over(self, told: Mapping[str, Any], files_of: Callable[[int], CityFiles] | None) -> None:
        self.city.extend(Names(tuple((kind, int(row), device) for kind, row, device in told["names"])))
        version = int(told.get("city", 1))
        if files_of is not None and version != self.city.version:
            files = files_of(version)
            self.city.become(files, version)
            self.ledger.move(files, {}, {}, "")
        self.fit()
        self.last_tick = int(told["last_tick"])
        self.learnt.load(told.get("learnt", {}))
        self.refusals.load(told.get("refusals", ()))
        self.refusals.follow(self.city)
        self.link = LinkClock(**told["link"])
        self.rules.override({name: dict(values) for name, values in told["rules"].items()}, "checkpoint")
        for kind, arrays in told["models"].items():
            if kind in self.models:
                self.models[kind].load(arrays, tuple(told["quantities"][kind]))
        held = [(name, _finding_in(values)) for name, values in told.get("withheld", ())]
        self.withheld.held = {finding.subject: (name, finding) for name, finding in held}
        anew = {name for name, arrays in told["detectors"].items() if not self._remembers(name, arrays)}
        self.said = {
            key: {detector: _finding_in(f) for detector, f in sayers.items()} for key, sayers in told["said"].items()
        }
        for sayers in self.said.values():  # nobody is left who would ever unsay these
            for name in anew & sayers.keys():
                finding = sayers[name]
                self.unsaid.append((name, replace(finding, active=False, at_ms=self.now_ms, since_ms=self.now_ms)))
        self.ledger.load(told["ledger"][0])
        self.orders.load(told.get("orders", [{}])[0])


def _finding_out(finding: Finding) -> Any:
    return [getattr(finding, name) for name in Finding.__slots__]


def _finding_in(values: Sequence[Any]) -> Finding:
    return replace(Finding("", "", True, 0, 0), **dict(zip(Finding.__slots__, values, strict=False)))
