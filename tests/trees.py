"""RFC 9162 §2.1 as it is written, by recursion, so that nothing is held against its own mirror."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


def split(count: int) -> int:
    """The largest power of two smaller than count."""
    return 1 << (count - 1).bit_length() - 1


@dataclass
class Recursive:
    """The tree over these leaves (SHA-256); ranges of them are named by begin and end."""

    leaves: list[bytes]
    known: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def mth(self, begin: int, end: int) -> bytes:
        """The hash over a range: §2.1.1."""
        if (begin, end) not in self.known:
            count = end - begin
            if count == 0:
                octets = b""
            elif count == 1:
                octets = b"\x00" + self.leaves[begin]
            else:
                middle = begin + split(count)
                octets = b"\x01" + self.mth(begin, middle) + self.mth(middle, end)
            self.known[begin, end] = hashlib.sha256(octets).digest()
        return self.known[begin, end]

    def root(self, size: int) -> bytes:
        return self.mth(0, size)

    def path(self, index: int, begin: int, end: int) -> list[bytes]:
        """PATH(m, D[n]): §2.1.3.1."""
        if end - begin == 1:
            return []
        middle = begin + split(end - begin)
        if index < middle:
            return [*self.path(index, begin, middle), self.mth(middle, end)]
        return [*self.path(index, middle, end), self.mth(begin, middle)]

    def proof(self, first: int, size: int) -> list[bytes]:
        """PROOF(m, D[n]): §2.1.4.1."""
        return self._subproof(first, 0, size, known=True)

    def _subproof(self, first: int, begin: int, end: int, *, known: bool) -> list[bytes]:
        if first == end:
            return [] if known else [self.mth(begin, end)]
        middle = begin + split(end - begin)
        if first <= middle:
            return [*self._subproof(first, begin, middle, known=known), self.mth(middle, end)]
        return [*self._subproof(first, middle, end, known=False), self.mth(begin, middle)]
