"""What a benchmark needs of other programs: where they are, and the CPU time that a running one has used."""

from __future__ import annotations

import lzma
import os
import shutil
import socket
import subprocess
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
TOOLS = Path(__file__).parents[3] / "shared" / "tools"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find(name: str, tools: Path, scratch: Path) -> Path | None:
    """A program by CITYWHISTLE_NAME, on PATH, or packed as tools/NAME/NAME.xz (unpacked into scratch)."""
    for named in (os.environ.get(f"CITYWHISTLE_{name.upper()}"), shutil.which(name)):
        if named and Path(named).is_file():
            return Path(named)
    packed = tools / name / f"{name}.xz"
    if not packed.is_file():
        return None
    program = scratch / name
    with lzma.open(packed) as source, program.open("wb") as target:
        shutil.copyfileobj(source, target)
    program.chmod(0o755)
    return program


def compile_counting(scratch: Path) -> Path | None:
    """The counting subscriber, compiled; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    program = scratch / "counting"
    source = Path(__file__).with_name("counting.c")
    subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program
