"""The veil over personal data: plates, driver cards, telephone numbers and e-mail addresses leave as pseudonyms.

A pseudonym is a class and 12 letters of HMAC-SHA256 under a key that lies in the data directory alone: stable while the
key stays, not to be told back without it. Plates of the registry are known whatever they look like; in texts that
people or devices wrote, what looks like a plate, a number, a card or an address is veiled as well. docs/privacy.md.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from twin.errors import AccessError
from twin.settings import own_secret

Kind = Literal["plate", "phone", "card", "mail"]
KEY_BYTES = 32
FILE = "pseudonym.key"
LETTERS = 12
SHORT, REMEMBERED = 300, 16_384  # letters of a text whose veiled form is remembered, and how many are

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"[{_PROVINCES}][A-Z][·・.\- ]?[A-HJ-NP-Z0-9]{{4,5}}[A-HJ-NP-Z0-9挂学警港澳领](?![A-Z0-9])", re.IGNORECASE
)
# Any country's, where people say that it is one: letters and digits in capitals right behind the word.
_CALLED = re.compile(
    r"((?i:\b(?:number|licen[cs]e)[ -]?plates?|\bplates?|\bregistration|车牌|牌照|号牌|牌号)"
    r"(?i:号码?| ?(?:number|no\.?))?[ \t]?(?:[:：#=为是]|(?i:is|was)\b)?[ \t]?[\"'“「]?)"
    r"(?=[A-Z0-9 .\-]{0,10}\d)(?=[0-9 .\-]{0,10}[A-Z])([A-Z0-9]{1,8}(?:[ .\-][A-Z0-9]{1,5}){0,2})(?![A-Za-z0-9-])"
)
# 11 digits of a Chinese mobile, area code and 7 or 8, or any number in international form.
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_.+-])"
    r"(?:(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}|0\d{2,3}[- ]\d{7,8}|\+\d(?:[ -]?\d){7,14})"
    r"(?![A-Za-z0-9_]|[.-]\d)"
)
# A citizen's number, which is also that of a driver's qualification (18, the last may be X).
_CARD = re.compile(
    r"(?<![A-Za-z0-9_.-])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![A-Za-z0-9_])"
)
# An e-mail address; what stands behind "//" is a server's (postgresql://user@host), not a person's.
_MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+/-])[A-Za-z0-9._%+-]{1,128}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,20}"
    r"(?![A-Za-z0-9@-]|\.[A-Za-z0-9])"
)
# What a device says under a name that means a person.
_NAMED = re.compile(
    r"(\\?[\"'](?:driver_?card\w*|driver_?(?:id|name|no)|card_?(?:no|number)|licen[cs]e(?:_?plate)?|plate(?:_?no)?|phone|"
    r"mobile|tel|msisdn|id_?card|e?_?mail)\\?[\"']\s*:\s*\\?[\"'])([^\"'\\]{2,64})", re.IGNORECASE,
)  # fmt: skip
_MEANS: tuple[tuple[str, Kind], ...] = (
    ("plate", "plate"), ("licen", "plate"), ("card", "card"), ("driver", "card"), ("mail", "mail"),
)  # fmt: skip
_VEILED = re.compile(r"(?:plate|phone|card|mail)-[a-z2-7]{12}")
_WIDE = re.compile(r"[０-９Ａ-Ｚａ-ｚ＠．]")  # what a Chinese keyboard makes of digits and letters
_NARROW = {code: chr(code - 0xFEE0) for code in (0xFF0E, *range(0xFF10, 0xFF1A), *range(0xFF20, 0xFF3B),
                                                 *range(0xFF41, 0xFF5B))}  # fmt: skip
_WORD = re.compile(r"[^\W_](?:[\w·-]*[^\W_])?")


class Veil:
    """Makes pseudonyms and puts them in place of what they stand for. Safe from any thread."""

    def __init__(self, key: bytes, plates: Mapping[str, str] | None = None, reached: Sequence[str] = ()) -> None:
        """`plates`: device id -> plate; `reached`: numbers and mail addresses of departments and channels."""
        if len(key) < KEY_BYTES:
            raise AccessError(f"the key of pseudonyms has {len(key)} bytes, {KEY_BYTES} are needed")
        self._key = key
        self.become(plates or {}, reached)

    def become(self, plates: Mapping[str, str], reached: Sequence[str]) -> None:
        """The city has these plates, numbers and addresses from now on."""
        self._plates = dict(plates)
        self._known = {_bare(plate): plate for plate in self._plates.values() if plate}
        self._split = sorted(
            (plate for plate in self._known.values() if not _WORD.fullmatch(plate)), key=len, reverse=True
        )
        self._back: dict[str, tuple[Kind, str]] = {
            self.plate(plate): ("plate", plate) for plate in self._known.values()
        }
        for way in reached:
            kind = kind_of(way)
            if kind is not None:
                self._back[self.pseudonym(kind, way)] = (kind, way)
        self._short = lru_cache(REMEMBERED)(self._veiled)  # ids, types and sentences come again and again

    def pseudonym(self, kind: Kind, value: str) -> str:
        """The pseudonym of a value: the same for each way to write it."""
        if kind in ("phone", "mail"):
            value = value.strip().removeprefix("tel:").removeprefix("mailto:")
        if kind == "mail":
            one = value.strip().lower()
        else:
            one = _number(value) if kind == "phone" and is_number(value) else _bare(value)
        said = f"{kind}\n{one}".encode("utf-8", "surrogatepass")
        told = base64.b32encode(hmac.new(self._key, said, hashlib.sha256).digest()).decode().lower()
        return f"{kind}-{told[:LETTERS]}"

    def plate(self, plate: str) -> str:
        """The pseudonym of a plate; '' for none."""
        return self.pseudonym("plate", plate) if plate else ""

    def plate_of(self, device: str) -> str:
        """The plate itself, in clear. For reveals and for messages to departments that need it."""
        return self._plates.get(device, "")

    def unveil(self, pseudonym: str) -> tuple[Kind, str] | None:
        """What a pseudonym stands for, where it is one of a plate or number that the city knows. For reveals."""
        return self._back.get(pseudonym)

    def text(self, told: str) -> str:
        """A text with pseudonyms in place of plates, cards and numbers."""
        if len(told) < 4:
            return told
        return self._short(told) if len(told) <= SHORT else self._veiled(told)

    def address(self, told: str) -> str:
        """An address of a channel (several with commas between): numbers and mail addresses as pseudonyms."""
        parts = (part.strip() for part in told.split(","))
        return ",".join(self.pseudonym(kind, part) if (kind := kind_of(part)) else part for part in parts)

    def _veiled(self, told: str) -> str:
        if _WIDE.search(told):
            told = told.translate(_NARROW)
        told = _NAMED.sub(lambda found: found[1] + self._named(found), told)
        for plate in self._split:
            if plate in told:
                told = told.replace(plate, self.plate(plate))
        told = _CARD.sub(lambda found: self.pseudonym("card", found[0]), told)
        told = _PLATE.sub(lambda found: self.plate(found[0]), told)
        told = _CALLED.sub(lambda found: found[1] + self.plate(found[2]), told)
        if self._known:
            told = _WORD.sub(self._word, told)
        if "@" in told:
            told = _MAIL.sub(lambda found: self.pseudonym("mail", found[0]), told)
        return _PHONE.sub(lambda found: self.pseudonym("phone", found[0]), told)

    def over(self, value: Any) -> Any:
        """Texts within mappings, sequences and records veiled; everything else as it is. Keys are left alone."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.over(item) for key, item in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.over(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, list | tuple | AbstractSet):
            return [self.over(item) for item in value]
        return value

    def _word(self, found: re.Match[str]) -> str:
        plate = self._known.get(_bare(found[0]))
        return found[0] if plate is None else self.plate(plate)

    def _named(self, found: re.Match[str]) -> str:
        if _VEILED.fullmatch(found[2]):
            return found[2]
        name = found[1].lower()
        kind: Kind = "phone"
        for part, means in _MEANS:
            if part in name:
                kind = means
                break
        return self.pseudonym(kind, found[2])


class VeilLog(logging.Filter):
    """Puts the veil over every line that a handler writes."""

    def __init__(self, veil: Veil) -> None:
        super().__init__()
        self._veil = veil

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message and the trace of an error; always True."""
        told = record.getMessage()
        veiled = self._veil.text(told)
        if veiled != told:
            record.msg, record.args = veiled, ()
        if record.exc_info:  # another handler may have written the trace already
            trace = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = self._veil.text(trace)
        return True


def veil_key(path: Path) -> bytes:
    """The key in a file that only its owner reads; made on first use. Raises AccessError where that cannot be.

    Another key makes other pseudonyms: what was exported before can no longer be joined with what comes after.
    """
    try:
        return own_secret(path, KEY_BYTES)
    except (OSError, ValueError) as error:
        raise AccessError(f"{path}: no key of pseudonyms ({error}); remove it to have a new one") from error


def is_number(text: str) -> bool:
    """Whether a text (an address of a channel) is a telephone number."""
    return bool(re.fullmatch(r"\+?\d[\d -]{4,18}\d", text.strip()))


def kind_of(address: str) -> Kind | None:
    """What an address of a channel is, where it means a person: a number, an e-mail address; None for others."""
    if is_number(address.strip().removeprefix("tel:")):
        return "phone"
    return "mail" if _MAIL.fullmatch(address.strip().removeprefix("mailto:")) else None


def _bare(value: str) -> str:
    """A value without what people put between its parts."""
    return re.sub(r"[\s·・.\-]", "", value).upper()


def _number(found: str) -> str:
    """A number in one form: digits alone, a mobile of mainland China without its country code."""
    digits = re.sub(r"\D", "", found)
    return digits[2:] if len(digits) == 13 and digits.startswith("86") else digits
