"""How many files a process may have open: a thousand connections are a thousand of them."""

from __future__ import annotations

import resource

WANTED = 65_536


def allow_files() -> int:
    """Raise this process's bound (its children inherit it) as far as it may itself; the bound then.

    Debian gives a login 1,024, of which a server with a thousand pages has none left for its databases.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else WANTED
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a system's own lower bound; what there is has to do
        return soft
    return wanted
