"""HEIC, as many telephones keep photos: decoded in a short-lived process of its own, bounded in memory and time.

The format is a box of boxes around video, its decoder is C; a file that breaks it breaks a process that holds nothing.
What comes back is a JPEG that `dashboards.photos` treats like any other: bounded, and written anew.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
MEMORY = 1 << 30  # of the process
CPU_S, PATIENCE_S = 20, 60.0
LARGE, UNREADABLE = 3, 4  # exit statuses


class HeicTooLarge(ValueError):
    """More pixels than are decoded."""


class HeicUnreadable(ValueError):
    """A file that the decoder does not take."""


def is_heic(raw: bytes) -> bool:
    """Whether a file says that it is one (ISO 23008-12: `ftyp` with one of these brands)."""
    if raw[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(raw[:4], "big"), 256)
    brands = [raw[8:12], *(raw[i : i + 4] for i in range(16, size, 4))]
    return any(brand in BRANDS for brand in brands)


def to_jpeg(raw: bytes, side: int, most_pixels: int) -> bytes:
    """The primary picture, upright, its longer side at most `side`. Raises HeicTooLarge, HeicUnreadable."""
    command = [sys.executable, "-m", "dashboards.heic", str(side), str(most_pixels)]
    try:
        done = subprocess.run(command, input=raw, capture_output=True, timeout=PATIENCE_S, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise HeicUnreadable(type(error).__name__) from error
    if done.returncode == LARGE:
        raise HeicTooLarge(f"more than {most_pixels} pixels")
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise HeicUnreadable(said[:200] or f"exit status {done.returncode}")
    return done.stdout


def main(side: int, most_pixels: int) -> int:
    """In the process of its own: standard input to standard output."""
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    import pi_heif
    from PIL import Image

    pi_heif.options.DECODE_THREADS = 1
    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = most_pixels
    try:
        with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("HEIF",)) as picture:
            if picture.size[0] * picture.size[1] > most_pixels:
                return LARGE
            picture.thumbnail((side, side))
            picture.convert("RGB").save(sys.stdout.buffer, "JPEG", quality=92)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return LARGE
    except Exception as error:  # noqa: BLE001 - whatever the decoder makes of a foreign file is the parent's to tell
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNREADABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
