"""From the configuration to an open database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from node.store.address import Address
from node.store.postgres import PostgresDatabase
from node.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from node.config import StoreSection
    from node.store.database import Database

_CHECK_S: Final = 10.0  # some gigabytes; a start has to come to an end
_log = structlog.get_logger()


def open_database(section: StoreSection) -> Database:
    """The database that the node's file names, open and in its present form.

    Raises:
        UnavailableError: STORE_UNAVAILABLE: it cannot be opened, is damaged, or cannot be relied
            on; what to do is said.
    """
    database: Database = (
        PostgresDatabase(Address(section.url, section.password_file))
        if section.url
        else SqliteDatabase(section.path)
    )
    if database.is_new:
        # Right on the first start only: whoever lost the store lost what was acknowledged.
        _log.warning("new store: nothing was kept here before", store=database.name)
        return database
    try:
        database.check(_CHECK_S)
    except BaseException:
        database.close()
        raise
    return database
