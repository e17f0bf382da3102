"""Sensor faults by peers and sisters: what neither the neighbours nor the device's other channels explain.

Works on rounds: one value an hour for every channel of a group of quantities, as arrays [C quantities, P devices].
Formulas and measurements: docs/detection.md, "Sensor faults". Scales are running medians, which a fault that fills
less than half their memory cannot teach. Everything is scored first, then learnt; NaN has no opinion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.records import F64

EVIDENCE = ("spike", "bias", "drift", "noise", "dropout", "stuck")
HOURS = 24
MEDIAN_RATE = 1.0 / 3000.0
LEVEL_MEMORY = 60.0 * 24.0  # rounds
TABLE_MEMORY = 60.0  # visits of an hour
SISTER_MEMORY = 1500.0
RIDGE = 0.1
YOUNG = 30.0
SETTLED = 100.0  # rounds before means over many rounds teach their own usual size
LEAST_NEIGHBOURS = 3
LOT = 1024  # devices whose neighbours are looked at together
QUARTERS = 4
ZERO_USUAL = 0.02  # a channel that reads zero this often says nothing by it
ZERO_MEMORY = 4000.0  # rounds
ZERO_WEIGHT = 0.1  # of ln(ZERO_USUAL / p(zero)) in the evidence of a dropout

_PLAIN = ("count", "level", "q_r", "q_z", "q_u", "q_v", "q_24", "q_72", "q_8", "q_36", "m_24", "m_72", "m_8", "m_36",
          "prev_z", "prev_v", "prev_x", "lag_z", "var_z", "lag_v", "var_v", "run", "run_sum", "low",
          "high", "zero", "zero_sum")  # fmt: skip
_ZERO = {"count", "m_24", "m_72", "m_8", "m_36", "lag_z", "var_z", "lag_v", "var_v", "run", "run_sum", "zero_sum"}


def running_median(q: F64, size: F64, count: F64) -> F64:
    """A running median of `size`, one step: multiplicative, fast while young. NaN in `size` changes nothing."""
    count = np.maximum(count, 0.0)
    rate = np.maximum(MEDIAN_RATE, 5.0 / (count + 10.0))
    stepped = q * np.where(size > q, 1.0 + 0.5 * rate, 1.0 - 0.5 * rate)
    young = q + (0.8 * size - q) / (count + 1.0)
    fresh = np.where(np.isnan(q), size, np.where(count < YOUNG, young, stepped))
    return np.where(np.isnan(size), q, np.maximum(fresh, 1e-9))


class Peers:
    """State of C quantities of P devices and their evidence, round by round.

    offset: c0 of y = ln(x + c0), by quantity; NaN keeps x as it is. resolution: the smallest step of a quantity.
    near: int[P, k], neighbours as indices into the P devices, -1 for none.
    """

    def __init__(self, offset: F64, resolution: F64, near: NDArray[np.intp]) -> None:
        self.offset = offset[:, None]
        self.log = ~np.isnan(self.offset)
        self.resolution = resolution[:, None]
        self.near = near
        c, p = len(offset), len(near)
        self.a: dict[str, NDArray[Any]] = {
            n: np.full((c, p), 0.0 if n in _ZERO else np.nan, np.float32 if n != "level" else np.float64)
            for n in _PLAIN
        }
        self.table = np.zeros((c, p, HOURS), np.float32)
        self.visits = np.zeros((c, p, HOURS), np.float16)
        self.around = np.full((c, p), 0.85)
        self.repeats = np.tile(np.array([0.5, 20.0]), (c, p, QUARTERS, 1)).astype(
            np.float32
        )  # repeats, chances, by quarter of the range
        self.moments = np.tile(0.9 * np.eye(c), (p, 1, 1)).astype(np.float32)
        self.omega = np.tile(np.eye(c) / (0.9 + RIDGE), (p, 1, 1)).astype(np.float32)
        self.expected: F64 = np.full((c, p), np.nan)  # by peers, level and hour, of the last round, in plain units
        self.rounds = 0

    def adopt(self, other: Peers, places: NDArray[np.intp], theirs: NDArray[np.intp] | slice = slice(None)) -> None:
        """Take over what another one learnt of devices (all, or those at `theirs`) that now stand at `places`."""
        for name, learnt in other.a.items():
            self.a[name][:, places] = learnt[:, theirs]
        for name in ("table", "visits", "around", "repeats"):
            getattr(self, name)[:, places] = getattr(other, name)[:, theirs]
        self.moments[places], self.omega[places] = other.moments[theirs], other.omega[theirs]
        self.rounds = max(self.rounds, other.rounds)

    def score(self, x: F64, hour: int) -> F64:
        """One round: values [C, P] (NaN: none) at local `hour`. Returns evidence [6, C, P], NaN where none."""
        a, told = self.a, ~np.isnan(x)
        y = np.where(self.log, np.log(np.maximum(x, 0.0) + np.where(self.log, self.offset, 1.0)), x)
        a["level"] = np.where(np.isnan(a["level"]), y, a["level"])
        d = y - a["level"]
        c = self._consensus(d)
        r = d - c - self.table[:, :, hour]
        scale = np.where(np.isnan(a["q_r"]), 1.0, a["q_r"])
        z0 = r / scale
        z = self._unexplained(z0)
        z /= np.maximum(1.0, self._around(z0) / 0.85)
        z /= np.where(np.isnan(a["q_z"]), 1.0, a["q_z"])
        back = np.exp(np.minimum(y - r, 50.0)) - np.where(self.log, self.offset, 0.0)
        self.expected = np.where(self.log, back, y - r)
        plain = x - self.expected
        u = np.abs(z - self._phi("lag_z", "var_z") * a["prev_z"])
        v = np.abs(plain - self._phi("lag_v", "var_v") * a["prev_v"])
        ready = a["count"] >= SETTLED + YOUNG
        evidence = np.full((len(EVIDENCE), *x.shape), np.nan)
        u_scaled, v_scaled = u / a["q_u"], v / np.maximum(a["q_v"], self.resolution)
        evidence[0] = np.sqrt(u_scaled * v_scaled)
        self._shifts(z, told, evidence)
        self._noises(u_scaled, told, evidence)
        evidence[4] += self._zeros(x, told)
        evidence[5] = self._stuck(x, told, u_scaled)
        evidence[:, ~(ready & told)] = np.nan
        self._learn(x, r, z, z0, plain, u, v, told, hour)
        for name in a:
            if name != "level":  # its steps are far below a float32 of a pressure
                a[name] = a[name].astype(np.float32)
        return evidence

    # ---- residuals -------------------------------------------------------------------------------------------

    def _consensus(self, d: F64) -> F64:
        """What the neighbours say together: weighted mean, twice reweighted against those that stand apart."""
        weight = 1.0 / np.square(np.where(np.isnan(self.a["q_r"]), 1.0, self.a["q_r"]))
        told = np.empty(d.shape)
        for some, near, there in self._neighbours():
            dn = np.where(there, d[:, near], np.nan)
            here = ~np.isnan(dn)
            w, dn = np.where(here, weight[:, near], 0.0), np.where(here, dn, 0.0)
            g = w
            for _ in range(3):
                c = (g * dn).sum(axis=2) / np.maximum(g.sum(axis=2), 1e-12)
                g = w / (1.0 + 0.15 * w * np.square(dn - c[:, :, None]))
            told[:, some] = np.where(here.sum(axis=2) >= LEAST_NEIGHBOURS, c, np.nan)
        return told

    def _lots(self) -> Iterator[slice]:
        """The devices in lots: what is worked out of neighbours or of pairs of channels takes eight times the room of
        what is worked out of devices."""
        for first in range(0, len(self.near), LOT):
            yield slice(first, first + LOT)

    def _neighbours(self) -> Iterator[tuple[slice, NDArray[np.intp], NDArray[np.bool_]]]:
        """Devices in lots, their neighbours' places, and where there is one."""
        for some in self._lots():
            yield some, np.maximum(self.near[some], 0), self.near[some] >= 0

    def _unexplained(self, z0: F64) -> F64:
        """What the sisters do not explain: the smaller of z0 and its conditional residual, 0 where they disagree."""
        if len(z0) < 2:
            return z0.copy()
        clipped = np.nan_to_num(np.clip(z0, -4.0, 4.0))
        diagonal = np.einsum("pcc->cp", self.omega)
        own = np.einsum("pcd,dp->cp", self.omega, clipped) / diagonal
        own += z0 - np.clip(z0, -4.0, 4.0)  # what the clip cut off is nobody's but its own
        agree = np.sign(own) == np.sign(z0)
        return np.where(np.isnan(z0), np.nan, np.where(agree, np.sign(z0) * np.minimum(np.abs(z0), np.abs(own)), 0.0))

    def _around(self, z0: F64) -> F64:
        clipped = np.minimum(np.abs(z0), 4.0)
        for some, near, there in self._neighbours():
            size = np.where(there, clipped[:, near], np.nan)
            count = (~np.isnan(size)).sum(axis=2)
            mean = np.where(count > 0, np.nansum(size, axis=2) / np.maximum(count, 1), 0.85)
            self.around[:, some] += (mean - self.around[:, some]) / 3.0
        return self.around

    def _phi(self, lag: str, var: str) -> F64:
        phi: F64 = np.clip(self.a[lag] / np.maximum(self.a[var], 1e-12), -0.95, 0.95)
        return phi

    # ---- evidence --------------------------------------------------------------------------------------------

    def _shifts(self, z: F64, told: NDArray[np.bool_], evidence: F64) -> None:
        a, step = self.a, np.clip(z, -6.0, 6.0)
        for place, (mean, q, memory) in enumerate((("m_24", "q_24", 24.0), ("m_72", "q_72", 72.0)), 1):
            moved = a[mean] + (step - a[mean]) / memory
            a[mean] = np.where(told & ~np.isnan(step), moved, a[mean])
            evidence[place] = np.abs(a[mean]) / a[q]
            settled = told & (a["count"] >= SETTLED)
            a[q] = running_median(a[q], np.where(settled, np.abs(a[mean]), np.nan), a["count"] - SETTLED)

    def _noises(self, u: F64, told: NDArray[np.bool_], evidence: F64) -> None:
        a = self.a
        for place, (mean, q, memory, most) in enumerate((("m_8", "q_8", 8.0, 12.0), ("m_36", "q_36", 36.0, 5.0)), 3):
            step = np.minimum(u, most)
            good = told & ~np.isnan(step)
            a[mean] = np.where(good, a[mean] + (step - a[mean]) / memory, a[mean])
            evidence[place] = a[mean] / a[q]
            good &= a["count"] >= SETTLED
            a[q] = running_median(a[q], np.where(good, a[mean], np.nan), a["count"] - SETTLED)

    def _zeros(self, x: F64, told: NDArray[np.bool_]) -> F64:
        """Zeros of a concentration that hardly ever reads zero: sum of ln(usual / p(zero)) over about a day. Where air
        is clean a zero is too near to what is expected for any residual; what gives it away is that it is one, and
        that no neighbour reads zero too."""
        a = self.a
        chance = np.where(np.isnan(a["zero"]), 2.5 * ZERO_USUAL, a["zero"])
        none = told & self.log & (x <= 0.0)
        alone = none.copy()
        for some, near, there in self._neighbours():
            alone[:, some] &= ~(none[:, near] & there).any(axis=2)
        news = np.where(alone, np.maximum(0.0, np.log(ZERO_USUAL / (chance + 1.0 / ZERO_MEMORY))), 0.0)
        unsaid = np.where(a["zero_sum"] < 10.0, 1.0, 0.2)  # what goes on is learnt, but not at once
        rate = np.maximum(1.0 / ZERO_MEMORY, 1.0 / (a["count"] + 20.0)) * unsaid
        a["zero"] = np.where(told, chance + rate * (none - chance), chance)
        a["zero_sum"] = np.where(told, a["zero_sum"] * (1.0 - 1.0 / HOURS) + news, a["zero_sum"])
        return ZERO_WEIGHT * a["zero_sum"]

    def _stuck(self, x: F64, told: NDArray[np.bool_], u: F64) -> F64:
        """Sum over a run of equal values of -ln p(repeat), p learnt by quarter of the own range."""
        a = self.a
        a["low"] = np.fmin(a["low"] + 1e-4 * (a["high"] - a["low"]), x)
        a["low"] = np.where(np.isnan(a["low"]), x, a["low"])
        a["high"] = np.fmax(a["high"] - 1e-4 * (a["high"] - a["low"]), x)
        a["high"] = np.where(np.isnan(a["high"]), x, a["high"])
        place = (x - a["low"]) / np.maximum(a["high"] - a["low"], 1e-9) * QUARTERS
        quarter = np.clip(np.nan_to_num(place), 0, QUARTERS - 1).astype(np.intp)
        ci, pi = np.indices(x.shape)
        chance = self.repeats[ci, pi, quarter]
        p = np.clip((chance[..., 0] + 0.2) / (chance[..., 1] + 0.4), 1e-3, 0.98)
        again = told & (np.abs(x - a["prev_x"]) < 0.5 * self.resolution)
        move = np.clip(np.nan_to_num(self.around), 0.5, 1.0)  # half while the neighbours stand still
        a["run_sum"] = np.where(again, a["run_sum"] - np.log(p) * move, np.where(told, 0.0, a["run_sum"]))
        a["run"] = np.where(again, a["run"] + 1.0, np.where(told, 0.0, a["run"]))
        fair = told & ~np.isnan(a["prev_x"]) & (a["run"] <= 3)
        keep = 1.0 - 1.0 / 2000.0
        counts = np.stack([np.where(fair, again.astype(float), 0.0), np.where(fair, 1.0, 0.0)], axis=-1)
        self.repeats[ci, pi, quarter] = np.where(fair[..., None], chance * keep + counts, chance)
        del u
        return np.where(a["run"] >= 2, a["run_sum"], 0.0)

    # ---- learning --------------------------------------------------------------------------------------------

    def _learn(self, x: F64, r: F64, z: F64, z0: F64, plain: F64, u: F64, v: F64, told: NDArray[np.bool_], hour: int
               ) -> None:  # fmt: skip
        a = self.a
        known = told & ~np.isnan(r)
        count = a["count"]
        scale = np.where(np.isnan(a["q_r"]), np.abs(r), a["q_r"])
        step = np.where(known, np.where(count < YOUNG, r, np.clip(r, -2.0 * scale, 2.0 * scale)), 0.0)
        a["level"] = np.where(
            known, a["level"] + np.maximum(1.0 / LEVEL_MEMORY, 1.0 / (count + 2.0)) * step, a["level"]
        )
        visits = self.visits[:, :, hour].astype(np.float64)
        late = np.where(count < YOUNG, 0.0, step)
        self.table[:, :, hour] += np.maximum(1.0 / TABLE_MEMORY, 1.0 / (visits + 4.0)) * late
        self.visits[:, :, hour] = np.minimum(visits + known, 1000.0)
        nan = np.where(known, 1.0, np.nan)
        least = 1e-3 + np.where(self.log, 0.0, self.resolution)
        a["q_r"] = np.maximum(running_median(a["q_r"], np.abs(r) * nan, count), least)
        q_z = running_median(
            a["q_z"], np.where(z == 0.0, np.nan, np.abs(z * np.where(np.isnan(a["q_z"]), 1.0, a["q_z"]))) * nan, count
        )
        a["q_z"] = q_z
        a["q_u"] = running_median(a["q_u"], u * nan, count)
        a["q_v"] = running_median(a["q_v"], v * nan, count)
        for new, prev, lag, var, limit in (
            (z, "prev_z", "lag_z", "var_z", 4.0),
            (plain, "prev_v", "lag_v", "var_v", 0.0),
        ):
            bound = np.full(x.shape, limit) if limit else 6.0 * np.nan_to_num(a["q_v"], nan=1.0)
            now, before = np.clip(new, -bound, bound), np.clip(a[prev], -bound, bound)
            both = known & ~np.isnan(before) & ~np.isnan(now)
            rate = np.maximum(1.0 / 1500.0, 1.0 / (count + 2.0))
            a[lag] = np.where(both, a[lag] + rate * (now * before - a[lag]), a[lag])
            a[var] = np.where(both, a[var] + rate * (before * before - a[var]), a[var])
            a[prev] = np.where(known, new, np.nan)
        a["prev_x"] = np.where(told, x, a["prev_x"])
        a["count"] = count + known
        if len(x) > 1:
            zc = np.nan_to_num(np.clip(z0, -3.0, 3.0))
            young = np.maximum(1.0 / SISTER_MEMORY, 1.0 / (self.rounds + 50.0))
            for some in self._lots():
                moments = self.moments[some]
                moments += young * (np.einsum("cp,dp->pcd", zc[:, some], zc[:, some]) / 2.2 - moments)
                if self.rounds % HOURS == 0:
                    spread = np.sqrt(np.maximum(np.einsum("pcc->pc", moments), 1e-3))
                    correlation = moments / (spread[:, :, None] * spread[:, None, :])
                    self.omega[some] = np.linalg.inv(correlation + RIDGE * np.eye(len(x), dtype=np.float32))
        self.rounds += 1

    # ---- checkpoint ------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Copies of everything that was learnt."""
        whole = ("table", "visits", "around", "repeats", "moments", "omega")
        return {
            "plain": {n: x.copy() for n, x in self.a.items()},
            **{n: getattr(self, n).copy() for n in whole},
            "rounds": self.rounds,
        }

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what was dumped; the devices are the same."""
        for n in _PLAIN:
            if n in told["plain"]:  # older checkpoints know nothing of zeros
                self.a[n] = told["plain"][n].copy()
        for n in ("table", "visits", "around", "repeats", "moments", "omega"):
            setattr(self, n, told[n].copy())
        self.rounds = int(told["rounds"])
