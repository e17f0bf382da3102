"""Photos that people send: decoded within bounds and written anew, so that nothing of the file itself is kept.

What is kept is a JPEG of our own making: no EXIF, no place, no comment, no thumbnail, no colour profile, no bytes
behind the picture. Decompression bombs are refused by their declared size, before a pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from dashboards import heic

MOST_BYTES = 8 << 20  # of an upload; telephones write 2 to 6 MB
MOST_PIXELS = 40_000_000  # decoded: 120 MB
MOST_SIDE = 20_000
SIDE = 1600  # the longer side of what is kept
QUALITY = 80
HEIC_FIX = (
    "set the camera to write JPEG (iPhone: Settings, Camera, Formats, Most Compatible) or send a screenshot of it"
)
FORMATS = ("JPEG", "PNG", "WEBP")
# An iPhone makes a JPEG of what it sends where HEIC is not named here, and so saves the server the work.
TYPES = "image/jpeg,image/png,image/webp"

Image.MAX_IMAGE_PIXELS = MOST_PIXELS


class BadPhoto(ValueError):
    """A file that is not kept; `why`: "photo_large" (too many bytes or pixels), "photo_heic" (a HEIC file that cannot
    be read; the telephone can write another format) or "photo_broken" (no picture).
    """

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture as it is kept: JPEG, its SHA-256, width and height in pixels."""

    jpeg: bytes
    sha256: str
    width: int
    height: int


def clean(raw: bytes) -> Photo:
    """The picture in an uploaded file. CPU work of up to a second: call it in a thread. Raises BadPhoto."""
    if len(raw) > MOST_BYTES:
        raise BadPhoto("photo_large", f"a photo has at most {MOST_BYTES >> 20} MiB")
    if heic.is_heic(raw):
        try:
            raw = heic.to_jpeg(raw, SIDE, MOST_PIXELS)
        except heic.HeicTooLarge as error:
            raise BadPhoto("photo_large", f"a photo has at most {MOST_PIXELS // 1_000_000} million pixels") from error
        except heic.HeicUnreadable as error:
            raise BadPhoto("photo_heic", f"a HEIC file that cannot be read ({error}): {HEIC_FIX}") from error
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
                raise BadPhoto("photo_large", f"a photo has at most {MOST_PIXELS // 1_000_000} million pixels")
            picture.draft("RGB", (SIDE, SIDE))  # JPEG: decoded at a fraction of its size where that is enough
            upright = ImageOps.exif_transpose(picture)
            small = _opaque(upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPhoto("photo_large", str(error)) from error
    except BadPhoto:
        raise
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError, MemoryError) as error:
        raise BadPhoto("photo_broken", f"no picture that we can read ({type(error).__name__})") from error
    small.thumbnail((SIDE, SIDE))
    plain = Image.new("RGB", small.size)
    plain.paste(small)  # pixels alone go over
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=QUALITY, optimize=True)
    jpeg = out.getvalue()
    return Photo(jpeg, hashlib.sha256(jpeg).hexdigest(), *plain.size)


def _opaque(picture: Image.Image) -> Image.Image:
    """As RGB; what is transparent becomes white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        white = Image.new("RGBA", whole.size, "white")
        white.alpha_composite(whole)
        return white.convert("RGB")
    return picture.convert("RGB")
