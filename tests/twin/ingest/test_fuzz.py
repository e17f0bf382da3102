"""Fuzzing of codec, columns and templates, in C and in Python: no input crashes them, is read twice differently, or
makes them keep more than their bounds. What must hold is in fuzz.py."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twin.ingest.fuzz import TARGETS, run, seeds
from twin.ingest import native

SECONDS = int(os.environ.get("CITYWHISTLE_FUZZ_S", "600"))
ROOT = Path(__file__).parents[3]


def fuzzed(arguments: list[str], environment: dict[str, str], seconds: int) -> str:
    """A fuzzer as a child; what it wrote. Fails where it found something."""
    command = [sys.executable, "-m", "tests.twin.ingest.fuzz", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_little(target: str) -> None:
    """A few hundred inputs that differ from good ones in a place or two."""
    library = native.LIB
    try:
        assert run(target, 3.0, seed=7) > 0
    finally:
        native.LIB = library


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_under_the_address_sanitizer(tmp_path: Path, target: str) -> None:
    """The loops in C read no byte outside what they were given: each buffer stands between guards of its own."""
    compiler = native.compiler()
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    library = tmp_path / "guarded.so"
    native.build(library, ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"))
    asked = [compiler, "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("this compiler has no libasan.so to load first")
    environment = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    seed = str(int.from_bytes(os.urandom(4)))
    arguments = [target, "--seconds", str(SECONDS), "--seed", seed, "--library", str(library)]
    print(f"seed {seed}: {fuzzed(arguments, environment, SECONDS).strip()} inputs")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_guided_by_coverage(tmp_path: Path, target: str) -> None:
    """atheris looks for inputs that reach new lines; nothing it finds crashes, hangs or needs a gigabyte."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this Python and machine")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for index, seed in enumerate(seeds(target)):
        (corpus / f"seed-{index}").write_bytes(seed)
    limits = [
        f"-max_total_time={SECONDS}",
        "-rss_limit_mb=1024",
        "-timeout=30",
        "-max_len=65536",
        "-print_final_stats=1",
    ]
    told = fuzzed([target, "--guided", *limits, f"-artifact_prefix={tmp_path}/", str(corpus)], {}, SECONDS)
    print("\n".join(line for line in told.splitlines() if line.startswith("stat::number_of_executed_units")))
