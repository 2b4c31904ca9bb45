"""The heart of the store: units of work, committed in groups, written set-wise.

One group is one transaction:

    1. begin
    2. every unit decides, on what is committed; one that raises is out, the others go on
    3. all their statements are proven together: one signature per key, batches where more than one
       waits (`signing.batch`)
    4. every unit concludes: its rows and its result
    5. the rows of all units are merged by shape and written, one statement per shape
    6. commit
    7. only now do results leave

An error in 1 or 6 is the database's: the whole group is answered "not now", because after a failed
commit nobody knows what is on the disk. Any other error rolls the group back and runs its units
again one by one, so that only the unit at fault fails. There are no savepoints: with SQLite's
driver they committed rows after a rollback.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from sqlalchemy.exc import DBAPIError

from node.store.database import AwayError
from node.store.merge import merge
from protocol.errors import LocalUseError, TongbanError, UnavailableError
from protocol.reasons import Reason
from signing.batch import sign_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from node.ports import Decision, Row, Unit
    from node.store.database import Database
    from signing.keys import KeyStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """It worked."""

    value: T


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised this."""

    error: Exception


Outcome: TypeAlias = Done[Any] | Failed


class StoreEngine:
    """The synchronous heart. Groups from one thread, reads from any, folds from one other."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        """Work on this database.

        Args:
            database: Opened; belongs to the engine from here on, which also closes it.
            keys: Signs what units ask for.
        """
        self._database = database
        self._keys = keys

    def run_group(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        """Run units that share no key in one transaction; one outcome each, in their order.

        A `Done` is on disk. A `Failed` holds what the unit raised, or UnavailableError
        (STORE_UNAVAILABLE): nothing was written or it is unknown, or LocalUseError: its rows break
        the schema.
        """
        try:
            return self._transact(units)
        except AwayError as away:
            return [self._waits(away) for _ in units]
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be one unit's
            if len(units) == 1:
                return [Failed(self._explained(error))]
        outcomes: list[Outcome] = []
        for unit in units:
            try:
                outcomes += self._transact([unit])
            except AwayError as away:
                return outcomes + [self._waits(away) for _ in units[len(outcomes) :]]
            except Exception as error:  # noqa: BLE001 - its own now, and its caller gets it
                outcomes.append(Failed(self._explained(error)))
        return outcomes

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query on one snapshot of what is committed; writing fails.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
            LocalUseError: the query is wrong.
        """
        try:
            with self._database.snapshot() as connection:
                return query(connection)
        except (AwayError, DBAPIError) as error:
            raise self._explained(error) from None

    @property
    def fold_due(self) -> bool:
        """Whether enough was written since the last `fold`."""
        return self._database.fold_due

    def fold(self) -> None:
        """See `Database.fold`."""
        self._database.fold()

    def forget(self) -> None:
        """See `Database.forget`."""
        self._database.forget()

    def close(self) -> None:
        """Close the database, for good: whatever comes later is unavailable."""
        self._database.close()

    # --- one transaction

    def _transact(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        connection = self._database.begin()
        try:
            outcomes, rows = self._decide(connection, units)
            self._database.write(merge(rows))
        except BaseException:
            self._database.roll_back()
            raise
        self._database.commit()
        return outcomes

    def _decide(
        self, connection: Connection, units: Sequence[Unit[Any]]
    ) -> tuple[list[Outcome], list[Row]]:
        """Steps 2 to 4: the outcomes to be, and the rows to write."""
        decisions = [_tried(unit.decide, connection) for unit in units]
        requests = [
            request
            for decision in decisions
            if isinstance(decision, Done)
            for request in decision.value.requests
        ]
        proofs = iter(sign_group(self._keys, requests) if requests else ())
        outcomes: list[Outcome] = []
        rows: list[Row] = []
        for tried in decisions:
            if isinstance(tried, Failed):
                outcomes.append(tried)
                continue
            decision: Decision[Any] = tried.value
            own = list(islice(proofs, len(decision.requests)))
            concluded = _tried(decision.conclude, own)
            if isinstance(concluded, Failed):
                outcomes.append(concluded)
                continue
            more, result = concluded.value
            rows.extend(more)
            outcomes.append(Done(result))
        return outcomes, rows

    # --- errors

    def _waits(self, away: AwayError) -> Failed:
        return Failed(self._explained(away))

    def _explained(self, error: Exception) -> Exception:
        """The error as the port promises it."""
        if isinstance(error, TongbanError):
            return error
        away = isinstance(error, AwayError)
        cause = (error.__cause__ if away else None) or error
        if isinstance(cause, DBAPIError):
            ours, text = self._database.explained(cause)
        else:
            # The text of what is neither may quote a value.
            ours, text = True, str(cause) if away else type(cause).__name__
        text = f"{self._database.name}: {text}"
        explained: TongbanError = UnavailableError(Reason.STORE_UNAVAILABLE, text)
        if ours and not away:
            explained = LocalUseError(text)
        # Where it came from, but not itself: a driver's error may quote a value.
        return explained.with_traceback(cause.__traceback__)


def _tried(function: Callable[..., T], argument: object) -> Done[T] | Failed:
    """What a unit's function returned or raised; the database's errors are not the unit's yet."""
    try:
        return Done(function(argument))
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 - its caller gets it
        return Failed(error)
