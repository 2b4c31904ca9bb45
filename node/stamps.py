"""Time stamps for the evidence log: heads are shown to an authority outside (时间戳).

Now and then the newest head goes to a time-stamping authority (RFC 3161); its answer is checked
like everything from outside and kept beside the head, which then stays. An authority that is away,
or answers nonsense, is a visible degraded state and nothing else: the log grows, heads are signed,
and the next one that is stamped dates everything before it too (TS-4).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from node.log.reading import newest_head
from node.ports import Decision, Unit, Upsert
from node.settlement import jitter
from node.store import schema
from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_STAMP_OCTETS
from protocol.reasons import Reason
from routing.retry import Timetable
from signing.stamps import verify_stamp

if TYPE_CHECKING:
    from node.context import NodeContext
    from node.log.reading import HeadRow
    from node.ports import StampAuthority
    from signing.stamps import StampRoots

AGAIN: Final = Timetable(base_ms=10_000, cap_ms=15 * 60_000, floor_ms=5_000)
"""An authority that did not stamp."""
_PATIENCE: Final = aiohttp.ClientTimeout(total=30, connect=10)
_QUERY_TYPE: Final = "application/timestamp-query"
_log = structlog.get_logger()


class Stamper:
    """Has the newest head stamped, at most every so often."""

    def __init__(
        self, context: NodeContext, authority: StampAuthority, roots: StampRoots, every_ms: int
    ) -> None:
        """Nothing happens before `run`.

        Args:
            context: The node.
            authority: Who stamps.
            roots: The certificates it is believed under.
            every_ms: The shortest pause between two stamps.
        """
        self._context = context
        self._authority = authority
        self._roots = roots
        self._every_ms = every_ms
        self.trouble: str | None = None
        """Why the last head was not stamped, for operators; None while all is well."""

    async def run(self) -> None:
        """Stamp until cancelled."""
        failures = 0
        while True:
            try:
                await self.stamp()
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the stamping
                failures += 1
                why = str(error) if isinstance(error, TongbanError) else "a fault; the log says it"
                if self.trouble is None:
                    trace = not isinstance(error, TongbanError)
                    _log.error("head not stamped", why=why, exc_info=trace)
                self.trouble = why
                pause_ms = AGAIN.delay_ms(failures, jitter(self._context))
            else:
                if self.trouble is not None:
                    _log.warning("heads are stamped again")
                failures, self.trouble, pause_ms = 0, None, self._every_ms
            await self._context.clock.sleep_ms(pause_ms)

    async def stamp(self) -> bool:
        """Have the newest head stamped; False if there is none, or it is.

        Raises:
            UnavailableError: TSA_UNREACHABLE, or the store's.
            RefusedError: STAMP_INVALID: what came is no stamp of this head, or is older than the
                head says it is: whoever verifies an evidence file with it would refuse the file.
        """
        store = self._context.store
        head = await store.read(newest_head)
        if head is None or head.stamp is not None:
            return False
        query = (
            TimestampRequestBuilder()
            .data(head.octets)
            .hash_algorithm(HashAlgorithm.SHA256)
            .cert_request(cert_request=True)
            .build()
        )
        answer = await self._authority.answer(query.as_bytes())
        stamped_ms = verify_stamp(answer, head.octets, self._roots, query.nonce)
        if stamped_ms < head.instant_ms - MAX_CLOCK_SKEW_MS:
            detail = "older than the head it is over; one of two clocks is wrong"
            raise RefusedError(Reason.STAMP_INVALID, detail)
        await store.run(_kept(head, answer))
        return True


def _kept(head: HeadRow, stamp: bytes) -> Unit[None]:
    """The head stays, with its stamp; unless another took its place meanwhile."""
    key = {"incarnation": head.incarnation, "size": head.size}
    values = {
        "instant_ms": head.instant_ms,
        "octets": head.octets,
        "view": head.view,
        "kept": 1,
        "stamp": stamp,
    }
    # Written whole: a head nobody knew may have gone when the next was signed.
    decision: Decision[None] = Decision(
        lambda _proofs: ([Upsert(schema.log_head, key | values)], None)
    )
    return Unit(lambda _connection: decision)


class HttpStamps:
    """A time-stamping authority over HTTP (RFC 3161 §3.4); a `StampAuthority`.

    Args:
        url: Where it answers. Plain HTTP will do: a stamp proves itself.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def answer(self, query: bytes) -> bytes:
        """See `node.ports.StampAuthority.answer`."""
        # Taken as it comes: what is unpacked here would be bounded only when it is in memory.
        headers = {"Content-Type": _QUERY_TYPE, "Accept-Encoding": "identity"}
        try:
            async with (
                aiohttp.ClientSession(timeout=_PATIENCE, auto_decompress=False) as session,
                session.post(
                    self._url, data=query, headers=headers, allow_redirects=False
                ) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise _away(f"{self._url} answers {response.status}")
                answer = await response.content.read(MAX_STAMP_OCTETS + 1)
                while len(answer) <= MAX_STAMP_OCTETS and not response.content.at_eof():
                    answer += await response.content.read(MAX_STAMP_OCTETS + 1 - len(answer))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(f"{self._url}: {type(error).__name__} {error}".strip()) from error
        return answer


def _away(what: str) -> UnavailableError:
    return UnavailableError(Reason.TSA_UNREACHABLE, what)
