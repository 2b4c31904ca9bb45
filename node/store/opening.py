"""From the configuration to an open database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from node.store.address import Address
from node.store.postgres import PostgresDatabase
from node.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from node.config import StoreSection
    from node.store.database import Database

_log = structlog.get_logger()


def open_database(section: StoreSection) -> Database:
    """The database that the node's file names, open and in its present form.

    Raises:
        UnavailableError: STORE_UNAVAILABLE: it cannot be opened, or not relied on; what to do is
            said.
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
