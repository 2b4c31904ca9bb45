"""What the engine needs of a database; `sqlite` and `postgres` are the two there are.

A group is one transaction, in the engine's one writing thread:

    begin -> (queries on the connection it gave) -> write -> commit, or roll_back after any error

Between `begin` and `write` nothing can be changed: units of work decide, they do not write. What
differs between the two databases stands behind this port, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

    from node.store.merge import Batch


READERS: Final = 4  # connections for reading, and threads that use them


class AwayError(Exception):
    """The transaction could not begin, or its commit is in doubt; its cause or text says why."""


class Database(Protocol):
    """One open database. One thread writes, any may read, one other folds."""

    @property
    def name(self) -> str:
        """What it is called in messages to operators; no secret is in it."""
        ...

    @property
    def is_new(self) -> bool:
        """Whether there was nothing in it before it was opened."""
        ...

    def check(self, most_s: float) -> None:
        """Look whether it is whole, for so many seconds at most; before anybody relies on it.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: it is damaged; what to do is said.
        """
        ...

    def begin(self) -> Connection:
        """Begin the group's transaction, on what is committed; on this connection units decide.

        Raises:
            AwayError: it cannot write now.
        """
        ...

    def write(self, batches: Sequence[Batch]) -> None:
        """Write these, in their order.

        Raises:
            LocalUseError: a row to be updated does not exist, or a unit ended the transaction.
            AwayError: it is certain that nothing was written, and cannot be now.
            DBAPIError: anything else.
        """
        ...

    def commit(self) -> None:
        """Make it durable.

        Raises:
            AwayError: it is not, or nobody knows.
        """
        ...

    def roll_back(self) -> None:
        """Undo the transaction, in whatever state it is; raises nothing."""
        ...

    def snapshot(self) -> AbstractContextManager[Connection]:
        """A connection that sees one moment of what is committed and cannot write.

        Raises:
            AwayError: closed.
            DBAPIError: it cannot be read now.
        """
        ...

    def explained(self, error: DBAPIError) -> tuple[bool, str]:
        """Whether the statement was wrong, or else the database; and what, quoting no value."""
        ...

    @property
    def fold_due(self) -> bool:
        """Whether enough was written since the last `fold`."""
        ...

    def fold(self) -> None:
        """Housekeeping beside writer and readers; raises nothing."""
        ...

    def forget(self) -> None:
        """See that what was deleted stands in none of its files any more, where that can be done.

        From any thread, beside writer and readers; waits for those who still read it.

        Raises:
            UnavailableError: STORE_UNAVAILABLE: it still does.
        """
        ...

    def close(self) -> None:
        """Let go of it, for good: whatever comes later is away."""
        ...
