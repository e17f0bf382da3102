"""The bound on open files is raised as far as a process may, for itself and its children."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = (
    "import resource, subprocess, sys; from devices.files import allow_files\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    "print(allow_files(), flush=True)\n"
    "subprocess.run(['sh', '-c', 'ulimit -n'])"
)


@pytest.mark.parametrize(("soft", "hard", "then"), [(256, 2048, 2048), (512, 512, 512)])
def test_the_bound_is_raised_to_what_is_allowed(soft: int, hard: int, then: int) -> None:
    """Up to the hard one, never above; a child has it too."""
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(then), str(then)]
