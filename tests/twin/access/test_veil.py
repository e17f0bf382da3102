"""The veil: what means a person leaves as a pseudonym, however it is written; nothing else is touched."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.access import Veil
from twin.access.veil import VeilLog, is_number, veil_key
from twin.errors import AccessError

VEIL = Veil(
    b"k" * 32,
    {"truck-001": "沪A12345", "truck-002": "CW-0002", "truck-003": "ABC 123"},
    ["+8613800000000", "duty@power.example", "https://power.example/whistles"],
)


@pytest.mark.parametrize(("told", "secret"), [
    ("truck 沪A12345 dumped", "12345"), ("沪A·12345", "12345"), ("沪a 12345", "12345"), ("粤BD12345。", "D12345"),
    ("plate CW-0002 seen", "CW-0002"), ("cw-0002", "cw-0002"), ("(CW0002)", "CW0002"), ("ABC 123 was there", "ABC 123"),
    ("call 13800000000", "13800000000"), ("电话13800000000。", "13800000000"),
    ("１３８００００００００", "８００"), ("138 0000 0000", "0000"),
    ("+86 138-0000-0000", "0000"), ("+358 40 1234567", "1234567"), ("021-12345678", "12345678"),
    ("id 310101199001011234", "310101"), ("31010119900101123X", "123X"),
    ('{"driverCard": "WANG-7781"}', "7781"), ('{\\"plateNo\\": \\"X-99 Y\\"}', "X-99"),
    ("{'phone': 'office 7'}", "office"), ("taken for mei.lin@city.example", "mei"),
    ("请联系Mei_Lin@city.example。", "Lin"),
    ("a car with the number plate XKF-512 stood there", "XKF-512"), ("plate: B MW 1234.", "MW 1234"),
    ("license plate no. 7XYZ123", "XYZ"), ("车牌号：AB 1234", "AB 1234"), ("号牌为ZB-77-RT，白色", "77-RT"),
    ("Licence plates is 'LX59 ANR'", "LX59"),
    ("ｍｅｉ＠ｃｉｔｙ．ｅｘａｍｐｌｅ", "ｅ"),
    ("<a@b.cc>,d@e.ff", "b.cc"), ('{"email": "mei lin"}', "mei"),
])  # fmt: skip
def test_what_is_veiled(told: str, secret: str) -> None:
    """Plates of the registry and what looks like a plate, number or card; by name what means a person."""
    veiled = VEIL.text(told)
    assert secret not in veiled
    assert any(kind in veiled for kind in ("plate-", "phone-", "card-", "mail-"))
    assert VEIL.text(veiled) == veiled  # twice is once


@pytest.mark.parametrize("told", [
    "CW-20260624-000001", "CW-20260624-000001:dispatch:1:webhook", "pole-0001", "1753730000000", "192.168.13.14",
    "Lamp draws 3 W where 82 W is expected (three reports).", "2026-11-30 04:12:33", "0910010201000001", "-0.138",
    "urn:citywhistle:2301010201000001", "2147483647", "https://lighting.example/whistles", "a" * 64, "1e13",
    '{"speed": 13.8, "driverCard": 1}', "13800000000000", "postgresql://citywhistle@db.example.org/cw",
    "the plate is gone", "plate 12 of 20", "plates on pole-0001", "plate CW-20260624-000001", "PM10 at DEF-456",
    "the registration of 2026-11-30", "车牌不清", "plate A",
    "root@localhost", "a@b", "CW-20260624-000001@7",
])  # fmt: skip
def test_what_is_left_alone(told: str) -> None:
    """Ids, keys, times, addresses of machines and measured values stay as they are."""
    assert VEIL.text(told) == told


def test_pseudonyms_are_stable_and_keyed() -> None:
    """One value, one pseudonym, however it is written; another key, another one; and back only for what is known."""
    assert VEIL.plate("沪A12345") == VEIL.plate("沪a·12345")
    assert VEIL.plate("沪A12345") != VEIL.plate("沪A12346")
    assert VEIL.plate("沪A12345") != Veil(b"x" * 32).plate("沪A12345")
    assert VEIL.unveil(VEIL.plate("沪A12345")) == ("plate", "沪A12345")
    assert VEIL.text("ring +86 138 0000 0000") == VEIL.text("ring 13800000000")
    assert VEIL.unveil(VEIL.text("13800000000")) == ("phone", "+8613800000000")
    assert VEIL.text("Duty@Power.example") == VEIL.address("duty@power.example")
    assert VEIL.unveil(VEIL.text("duty@power.example")) == ("mail", "duty@power.example")
    assert VEIL.address("https://power.example/whistles") == "https://power.example/whistles"
    assert VEIL.address("13800000000, duty@power.example").count("-") == 2
    assert VEIL.unveil("plate-aaaaaaaaaaaa") is None
    assert VEIL.plate_of("truck-002") == "CW-0002"
    assert VEIL.plate_of("pole-1") == ""


def test_records_within_records() -> None:
    """Mappings, lists and records are walked; numbers and keys stay."""
    told = VEIL.over({"13800000000": ["沪A12345", 7, None, {"x": ("CW-0002",)}]})
    assert told == {"13800000000": [VEIL.plate("沪A12345"), 7, None, {"x": [VEIL.plate("CW-0002")]}]}


@given(st.text(max_size=300))
def test_any_text_is_survived(told: str) -> None:
    """Whatever people and devices write is veiled without an error, and twice is once."""
    veiled = VEIL.text(told)
    assert VEIL.text(veiled) == veiled


@pytest.mark.parametrize(
    "told",
    [
        "+1" * 4000,
        "0" * 10_000,
        "沪A" * 4000,
        '"plate":' * 2000,
        "-" * 10_000,
        "1 3 8 " * 2000,
        "a·" * 5000,
        "a@" * 5000,
        "a@b.c" * 3000,
        "a." * 5000 + "@",
        "@" + "a." * 5000,
        "plate " * 2000 + "A" * 5000,
        "plate " + "A1 " * 4000,
    ],
)
def test_no_text_is_slow(told: str) -> None:
    """No text makes the patterns run away."""
    began = time.process_time()
    VEIL.text(told)
    assert time.process_time() - began < 1.0


def test_logs_are_veiled(caplog: pytest.LogCaptureFixture) -> None:
    """Messages, arguments and traces of errors."""
    log = logging.getLogger("test.veil")
    caplog.handler.addFilter(VeilLog(VEIL))
    log.warning("sent to %s for %s", "13800000000", "沪A12345")
    try:
        raise ValueError("13800000000 refused")
    except ValueError:
        log.exception("refused")
    assert "13800000000" not in caplog.text
    assert "12345" not in caplog.text
    assert "phone-" in caplog.text


def test_the_key_lies_in_a_file(tmp_path: Path) -> None:
    """Made once, its owner's alone; a broken one is said, not replaced."""
    path = tmp_path / "pseudonym.key"
    assert veil_key(path) == veil_key(path)
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("no key", encoding="ascii")
    with pytest.raises(AccessError, match="remove it"):
        veil_key(path)


def test_numbers() -> None:
    assert [is_number(one) for one in ("+86 138-0000 0000", "13800000000", "a@b.c", "https://x", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
