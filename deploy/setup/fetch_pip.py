"""Fetch pip's own wheel from the package index, for a Python that came without pip; prints the wheel's path.

usage: fetch_pip.py FOLDER. A wheel of pip runs as it is: `python pip-x.whl/pip install ...`. Its SHA-256 is checked
against the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.parse
import urllib.request
from pathlib import Path


def main(folder: Path) -> Path:
    """Fetch the newest release of pip that is a pure wheel; the path that it was written to."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    asked = urllib.request.Request(index, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        listed = json.load(answer)
    wheels = [file for file in listed["files"] if file["filename"].endswith("-py3-none-any.whl") and not file["yanked"]]
    final = [file for file in wheels if file["filename"].split("-")[1].replace(".", "").isdigit()]
    newest = max(final, key=lambda file: [int(part) for part in file["filename"].split("-")[1].split(".")])
    with urllib.request.urlopen(urllib.parse.urljoin(index, newest["url"]), timeout=120) as answer:
        wheel = answer.read()
    if hashlib.sha256(wheel).hexdigest() != newest["hashes"]["sha256"]:
        raise SystemExit(f"{newest['filename']}: its SHA-256 is not the one that the index names")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(newest["filename"])
    path.write_bytes(wheel)
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
