"""A forked process that writes down what memory held when it was forked, while this one goes on changing it.

The fork copies page tables, no pages: the ticking thread is held for some milliseconds however large the world is, and
only pages that are changed meanwhile exist twice. The child has this one thread. It closes whatever it inherited (the
journal's lock and the sockets must not outlive the server in it), runs `work`, and ends without any clean-up of ours.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable

FORKS = sys.platform == "linux"
BROKEN = 255  # exit status of a child that failed otherwise than by an OSError
FIRST_FD = 3
MOST_FDS = 1 << 20
LONGEST_S = 900.0  # that a child may take
POLL_S = 0.05
NICER = 5  # the tick goes before the checkpoint


def fork(work: Callable[[], object]) -> int:
    """Run `work` in a forked process, whose id is returned; to be awaited by `ended`. Raises OSError where none can be
    had. `work` takes no lock that another thread may hold, logs nothing, and needs no file that is open here."""
    sys.stderr.flush()
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forking beside threads: the child may wait for a lock that none of its own
        # threads holds. `work` takes none, and `ended` waits for a bounded time.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = BROKEN
    try:
        gc.disable()  # what is collected would close files by numbers that are ours now
        os.closerange(FIRST_FD, MOST_FDS)
        os.nice(NICER)
        work()
        status = 0
    except OSError as error:
        status = error.errno or BROKEN
    except BaseException:  # noqa: BLE001 - nothing may run on into what the parent does after the fork
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def ended(child: int, longest_s: float = LONGEST_S) -> None:
    """Wait for the child, and end it where it takes longer than `longest_s`.

    Raises the OSError that ended it, or ChildProcessError where it was something else.
    """
    until = time.monotonic() + longest_s
    done, waited = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < until:
        time.sleep(POLL_S)
        done, waited = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise ChildProcessError(f"the process that writes the checkpoint was ended after {longest_s:g} s")
    status = os.waitstatus_to_exitcode(waited)
    if status == 0:
        return
    if 0 < status < BROKEN:
        raise OSError(status, os.strerror(status))
    what = f"was ended by signal {-status}" if status < 0 else "failed; standard error says where"
    raise ChildProcessError(f"the process that writes the checkpoint {what}")
