"""One bounded HTTP request for the channels that speak HTTP: what may be retried, what may not, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from twin.channels.protocol import url_problem
from twin.errors import DeliveryFailed

LARGEST_ANSWER = 64 * 1024
LONGEST_WAIT_S = 3600.0
RETRY = frozenset({408, 425, 429})  # of the 4xx, those that may be better later


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body (at most LARGEST_ANSWER bytes) of an answer."""

    status: int
    body: bytes

    @property
    def detail(self) -> str:
        """For people: the status and the beginning of the body."""
        text = self.body[:200].decode("utf-8", "replace").strip()
        return f"{self.status} {text}".strip()


class Poster:
    """Posts bodies with a time limit over everything, and reads answers with a size limit."""

    def __init__(self, timeout_s: float, proxy: str = "") -> None:
        """`timeout_s` covers connecting, sending and the whole answer. Environment proxies are not used."""
        self._timeout_s = timeout_s
        self._proxy = proxy or None
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> Reply:
        """Send once. Raises DeliveryFailed for everything but a whole 2xx answer."""
        problem = url_problem(url)
        if problem:
            raise DeliveryFailed(f"address: {problem}", retry=False)
        try:
            async with asyncio.timeout(self._timeout_s):
                reply, retry_after = await self._ask(method, url, body, headers)
        except TimeoutError:
            raise DeliveryFailed(f"no answer within {self._timeout_s:g} s") from None
        except httpx.InvalidURL as error:
            raise DeliveryFailed(f"address: {error}", retry=False) from error
        except httpx.HTTPError as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}"[:300]) from error
        if 200 <= reply.status < 300:
            return reply
        again = reply.status >= 500 or reply.status in RETRY
        raise DeliveryFailed(reply.detail, retry=again, after_s=_after(retry_after) if again else None)

    async def _ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[Reply, str]:
        if self._client is None:
            limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._timeout_s), limits=limits, trust_env=False, proxy=self._proxy
            )
        async with self._client.stream(method, url, content=body, headers=dict(headers)) as answer:
            read = bytearray()
            async for part in answer.aiter_bytes():
                read += part
                if len(read) >= LARGEST_ANSWER:
                    break
            return Reply(answer.status_code, bytes(read[:LARGEST_ANSWER])), answer.headers.get("retry-after", "")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def _after(text: str) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 10.2.3: seconds or a date), at most an hour; None for none."""
    if not text:
        return None
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_WAIT_S)
