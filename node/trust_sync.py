"""Fetching newer documents of the directory from peers (目录同步).

Documents prove themselves, so it does not matter who hands them over. Every ten minutes a node asks
one of the peers it can dial, its own hubs first and then in turn, for what it lacks of each pinned
province; while something has expired, every minute. What comes is held against the trust anchor
and everything accepted before, as a whole set, and laid down in the node's own files, where
`node.trust_watch` finds it. Anything else is dropped.

A question is ``prefix (2) | n SHA-256 (32 each)``: the files that are there already. The answer is
``u32 length | octets`` per file that is not, as many as one answer holds, at least one if there is
any; freshness last. Who is not done asks again (DI-18, DI-19).
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from node.config import ConfigError
from protocol.errors import RefusedError, TongbanError
from protocol.limits import MAX_DOCUMENT_OCTETS, MAX_POST_OCTETS
from protocol.reasons import Reason
from routing.directory import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from node.context import NodeContext
    from node.federation import Trust

Ask: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Puts a question to the peer with this node id; UnavailableError if there is no answer."""

ASK_MS: Final = 10 * 60_000
HURRY_MS: Final = 60_000
MAX_FILES: Final = 256
"""Files in one question or one fetch: a chain of roots, a directory, items, revocations."""
MAX_FETCHED_OCTETS: Final = 3 * MAX_DOCUMENT_OCTETS
"""Of one fetch, all of it in memory: the largest directory and items, and all the small files."""
_PREFIX: Final = 2
_DIGEST: Final = 32
_LENGTH: Final = struct.Struct(">I")
_log = structlog.get_logger()


def write_question(prefix: str, held: Iterable[bytes]) -> bytes:
    """What a node asks for a province: whatever is not one of the files it holds."""
    digests = [hashlib.sha256(octets).digest() for octets in held]
    return prefix.encode("ascii") + b"".join(sorted(digests)[:MAX_FILES])


def write_answer(question: bytes, documents: Callable[[str], Iterable[bytes]]) -> bytes:
    """The files of a province that a question lacks, as many as one answer holds.

    Args:
        question: As a peer put it.
        documents: The files of a province in force here, by prefix; freshness last.

    Raises:
        RefusedError: FRAME_MALFORMED: it is no question.
    """
    prefix, rest = question[:2], question[2:]
    if (
        len(prefix) != _PREFIX
        or not prefix.isdigit()
        or len(rest) % _DIGEST
        or len(rest) > MAX_FILES * _DIGEST
    ):
        raise RefusedError(Reason.FRAME_MALFORMED, f"a question of {len(question)} octets")
    held = {rest[at : at + _DIGEST] for at in range(0, len(rest), _DIGEST)}
    answer = b""
    for octets in documents(prefix.decode("ascii")):
        if hashlib.sha256(octets).digest() in held:
            continue
        if answer and len(answer) + len(octets) > MAX_POST_OCTETS:
            break
        answer += _LENGTH.pack(len(octets)) + octets
    return answer


def read_answer(answer: bytes) -> list[bytes]:
    """The files in an answer.

    Raises:
        RefusedError: FRAME_MALFORMED.
    """
    found: list[bytes] = []
    place = 0
    while place < len(answer):
        start = place + _LENGTH.size
        length = _LENGTH.unpack(answer[place:start])[0] if start <= len(answer) else 0
        if not 0 < length <= len(answer) - start or len(found) == MAX_FILES:
            raise RefusedError(Reason.FRAME_MALFORMED, f"an answer of {len(answer)} octets")
        found.append(answer[start : start + length])
        place = start + length
    return found


class TrustSync:
    """Asks peers for what this node lacks, and answers theirs."""

    def __init__(self, context: NodeContext, trust: Trust, ask: Ask) -> None:
        """Nobody was asked yet.

        Args:
            context: The node.
            trust: Its files.
            ask: One question to a peer.
        """
        self._context = context
        self._trust = trust
        self._ask = ask
        self._turn = 0
        self._asked_ms: int | None = None

    async def answer(self, question: bytes) -> bytes:
        """What a peer is handed of a province.

        Raises:
            RefusedError: FRAME_MALFORMED.
        """
        return await asyncio.to_thread(write_answer, question, self._trust.documents)

    def due(self) -> bool:
        """Whether it is time to ask again."""
        directory, now_ms = self._context.federation.directory, self._context.clock.now_ms()
        standings = (directory.standing(prefix, now_ms) for prefix in self._trust.pinned)
        pause_ms = ASK_MS if all(row is Standing.FRESH for row in standings) else HURRY_MS
        asked_ms = self._asked_ms
        return asked_ms is None or not 0 <= now_ms - asked_ms < pause_ms

    async def round(self) -> bool:
        """Ask the next peer about every pinned province; whether anything newer was laid down."""
        peers = self._peers()
        self._asked_ms = self._context.clock.now_ms()
        if not peers:
            return False
        peer = peers[self._turn % len(peers)]
        self._turn += 1
        found = False
        for prefix in self._trust.pinned:
            try:
                documents = await self._fetch(peer, prefix)
                if not documents:
                    continue
                adopted: bool = await asyncio.to_thread(self._trust.adopt, prefix, documents)
                if adopted:
                    _log.info("directory fetched", peer=peer, prefix=prefix, files=len(documents))
                found = found or adopted
            except (TongbanError, ConfigError, OSError) as error:
                _log.warning("directory not fetched", peer=peer, prefix=prefix, why=str(error))
        return found

    async def _fetch(self, peer: str, prefix: str) -> list[bytes]:
        """What a peer holds of a province and we do not; empty if it is nothing new."""
        held = list(self._trust.documents(prefix))
        found: list[bytes] = []
        while len(found) < MAX_FILES and sum(map(len, found)) <= MAX_FETCHED_OCTETS:
            question = write_question(prefix, [*held, *found])
            more = [row for row in read_answer(await self._ask(peer, question)) if row not in found]
            if not more:
                return found
            found += more
        raise RefusedError(Reason.TOO_LARGE, f"{peer} has no end of files of {prefix}")

    def _peers(self) -> list[str]:
        """Who can be dialled: our hubs first."""
        here, directory = self._context.here, self._context.federation.directory
        dialled = [
            node.id
            for node in directory.nodes.values()
            if node.url is not None and directory.linked(here, node.id)
        ]
        hubs = directory.hubs(here)
        return sorted(dialled, key=lambda node: node not in hubs)
