"""Photos: written anew without metadata, bounded, bombs refused, kept under their case, hash in the history."""

from __future__ import annotations

import hashlib
import html
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from dashboards import heic, photos
from dashboards.api.letter import ENGLISH
from tests.dashboards.conftest import ORIGIN
from tests.dashboards.fake_desk import FakeDesk
from tests.dashboards.test_answer import LINK, form

SECRET = b"31.2304N 121.4737E serial 4711"


def picture(kind: str = "JPEG", size: tuple[int, int] = (640, 480), **more: Any) -> bytes:
    """A picture with a red left and a blue right half."""
    made = Image.new("RGB", size, "red")
    made.paste("blue", (size[0] // 2, 0, *size))
    out = io.BytesIO()
    made.save(out, kind, **more)
    return out.getvalue()


def with_everything() -> bytes:
    """A JPEG as telephones write them: EXIF with place, turned by 90 degrees, a comment, bytes behind the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to see it
    exif[0x010F] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    return picture(exif=exif.tobytes(), comment=SECRET) + b"PK\x03\x04" + SECRET


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred kilobytes at most that says it is very large, and is."""
    rows = zlib.compressobj(9)
    line = b"\0" * (1 + width)
    packed = b"".join(rows.compress(line) for _ in range(min(height, 2000))) + rows.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_nothing_of_the_file_is_kept_but_its_pixels() -> None:
    """No EXIF, place, comment or trailing bytes; the turn is applied; the longer side is bounded."""
    kept = photos.clean(with_everything())
    assert SECRET not in kept.jpeg
    assert b"Exif" not in kept.jpeg
    with Image.open(io.BytesIO(kept.jpeg)) as told:
        assert (told.format, told.size) == ("JPEG", (480, 640))
        assert dict(told.getexif()) == {}
        assert set(told.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        top = told.getpixel((240, 10))
        assert isinstance(top, tuple)
        assert top[0] > 200 > 100 > top[2]
    assert kept.sha256 == hashlib.sha256(kept.jpeg).hexdigest()
    assert photos.clean(picture(size=(4000, 3000))).width == photos.SIDE


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_else_telephones_send_becomes_jpeg(kind: str) -> None:
    """PNG and WebP too; see-through parts become white."""
    assert photos.clean(picture(kind)).jpeg.startswith(b"\xff\xd8\xff")
    glass = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(glass, kind)
    with Image.open(io.BytesIO(photos.clean(glass.getvalue()).jpeg)) as told:
        assert min(told.getpixel((4, 4))) > 240


HEIC = Path(__file__).parents[1] / "golden" / "photos" / "telephone.heic"


def resized(raw: bytes, width: int, height: int) -> bytes:
    """A HEIC file that says it is so large."""
    at = raw.index(b"ispe") + 8
    return raw[:at] + struct.pack(">II", width, height) + raw[at + 8 :]


def test_a_telephones_heic_becomes_a_jpeg_of_pixels_alone() -> None:
    """Upright, without EXIF and place; decoded by a process that has ended when this returns."""
    raw = HEIC.read_bytes()
    assert SECRET in raw
    kept = photos.clean(raw)
    assert SECRET not in kept.jpeg
    with Image.open(io.BytesIO(kept.jpeg)) as told:
        assert (told.format, told.size, dict(told.getexif())) == ("JPEG", (240, 320), {})
        top, bottom = told.getpixel((120, 10)), told.getpixel((120, 310))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 180 > 90 > top[2]
    assert bottom[2] > 180 > 90 > bottom[0]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (HEIC.read_bytes()[:300], "photo_heic"),
        (HEIC.read_bytes()[:-40], "photo_heic"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\xff" * 400, "photo_heic"),
        (resized(HEIC.read_bytes(), 20_000, 20_000), "photo_large"),
        (resized(HEIC.read_bytes(), 0, 0), "photo_heic"),
    ],
)
def test_a_heic_that_cannot_be_read_says_what_to_do_on_the_telephone(raw: bytes, why: str) -> None:
    """Cut off, scrambled, larger than it is: refused with the way to write JPEG instead, in time and in bounds."""
    with pytest.raises(photos.BadPhoto) as refused:
        photos.clean(raw)
    assert refused.value.why == why
    assert why == "photo_large" or "Most Compatible" in str(refused.value)


def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has its time; then the photo is refused and nobody waits on."""
    monkeypatch.setattr(heic, "PATIENCE_S", 0.001)
    with pytest.raises(photos.BadPhoto, match="TimeoutExpired"):
        photos.clean(HEIC.read_bytes())


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (bomb(20_000, 20_000), "photo_large"),
        (bomb(60_000, 10), "photo_large"),
        (b"x" * (photos.MOST_BYTES + 1), "photo_large"),
        (b"", "photo_broken"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "photo_broken"),
        (b"GIF89a" + b"\1" * 200, "photo_broken"),
        (picture()[:400], "photo_broken"),
        (picture("PNG")[:200], "photo_broken"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0" * 13), "photo_broken"),
        (b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 50, "photo_broken"),
    ],
)
def test_bombs_and_what_is_no_picture_are_refused(raw: bytes, why: str) -> None:
    """Refused by their own declaration, or where they end, with the reason to tell."""
    with pytest.raises(photos.BadPhoto) as refused:
        photos.clean(raw)
    assert refused.value.why == why


async def test_a_report_with_a_photo(stranger: httpx.AsyncClient, script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The form without script carries it: kept, attached with its hash, then handled; the page then has it to show."""
    response = await stranger.post(
        f"{LINK}?lang=en", data=form("handle", reason="lamp replaced"), headers={"Origin": ORIGIN},
        files={"photo": ("../../etc/IMG_1.jpg", with_everything(), "image/jpeg")},
    )  # fmt: skip
    assert response.status_code == 303
    assert [asked[0] for asked in desk.asked] == ["attach", "handle"]
    attached = desk.asked[0][4]
    assert attached["name"] == f"photo-{attached['sha256'][:12]}.jpg"
    history = (await script.get("/api/cases/c00001/history")).json()
    assert history[-2]["evidence"]["sha256"] == attached["sha256"]
    shown = await script.get(f"/api/cases/c00001/photos/{attached['sha256']}")
    assert hashlib.sha256(shown.content).hexdigest() == attached["sha256"]
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.headers["x-content-type-options"] == "nosniff"


async def test_the_same_report_twice_is_one(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """A double tap attaches one photo and handles once; the second is told that the case has moved on."""
    for status in (303, 409):
        told = await stranger.post(LINK, data=form("handle", reason="done"), headers={"Origin": ORIGIN},
                                   files={"photo": ("a.jpg", picture(), "image/jpeg")})  # fmt: skip
        assert told.status_code == status
    assert [step.event for step in desk.history("c00001")][-2:] == ["attach", "handle"]
    assert len(desk.photos) == 1


@pytest.mark.parametrize(
    ("verb", "raw", "status", "words"),
    [
        ("handle", b"no picture", 422, ENGLISH["photo_broken"]),
        ("handle", HEIC.read_bytes()[:300], 422, html.escape(ENGLISH["photo_heic"])),
        ("handle", bomb(20_000, 20_000), 422, ENGLISH["photo_large"]),
        ("comment", picture(), 422, ENGLISH["broken"]),
    ],
)
async def test_a_bad_photo_is_told_and_nothing_is_done(
    stranger: httpx.AsyncClient, desk: FakeDesk, verb: str, raw: bytes, status: int, words: str
) -> None:
    """The page says why, and the case stands where it stood; a photo goes with a report alone."""
    told = await stranger.post(f"{LINK}?lang=en", data=form(verb, reason="done"), headers={"Origin": ORIGIN},
                               files={"photo": ("a.jpg", raw, "image/jpeg")})  # fmt: skip
    assert (told.status_code, words in told.text) == (status, True)
    assert desk.asked == []
    assert desk.photos == {}


async def test_an_empty_file_field_is_a_report_without_photo(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """Browsers send an empty part when no file was chosen."""
    told = await stranger.post(LINK, data=form("handle", reason="done"), headers={"Origin": ORIGIN},
                               files={"photo": ("", b"", "application/octet-stream")})  # fmt: skip
    assert told.status_code == 303
    assert [asked[0] for asked in desk.asked] == ["handle"]


async def test_programs_attach_by_api(script: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The body is the picture; a repeated call is one action; what is no picture and what is too large are refused."""
    for _ in range(2):
        told = await script.post("/api/cases/c00001/photos", content=picture("PNG"), params={"reason": "before"},
                                 headers={"Idempotency-Key": "photo-key-1"})  # fmt: skip
        assert told.status_code == 200
    assert [asked[0] for asked in desk.asked] == ["attach"]
    assert desk.asked[0][3] == "before"
    assert (await script.post("/api/cases/c00001/photos", content=b"nothing")).status_code == 422
    heic = await script.post("/api/cases/c00001/photos", content=HEIC.read_bytes()[:300])
    assert (heic.status_code, "Most Compatible" in heic.json()["fix"]) == (422, True)
    assert (await script.post("/api/cases/c00001/photos", content=bomb(20_000, 20_000))).status_code == 413
    assert (await script.post("/api/cases/c00001/photos", content=b"x" * (9 << 20))).status_code == 413
    assert (await script.post("/api/cases/nothing/photos", content=picture())).status_code == 404
    assert (await script.get(f"/api/cases/c00001/photos/{'0' * 64}")).status_code == 404


async def test_who_was_told_of_the_closure_says_how_it_was_done(stranger: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The link of a closed case offers an evaluation by the unit concerned; without a score it is asked for."""
    await desk.act("close", "c00001", "li", "done", "r1")
    page = await stranger.get(f"{LINK}?lang=en")
    assert 'name="verb" value="evaluate"' in page.text
    wrong = await stranger.post(f"{LINK}?lang=en", data=form("evaluate", score="9"), headers={"Origin": ORIGIN})
    assert (wrong.status_code, ENGLISH["score"] in wrong.text) == (422, True)
    told = form("evaluate", score="4", false="yes")
    assert (await stranger.post(LINK, data=told, headers={"Origin": ORIGIN})).status_code == 303
    assert desk.asked[-1][4] == {"verdict": "false", "score": 4, "by": "unit"}
