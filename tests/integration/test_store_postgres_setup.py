"""What the store asks of a PostgreSQL server before it keeps anything there, and how it gets in."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from node.store.address import Address
from node.store.engine import Done, StoreEngine
from node.store.postgres import PostgresDatabase
from protocol.errors import UnavailableError
from tests.messages import keys_of
from tests.postgres import Server
from tests.store_kit import peer, unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Servers

KEYS = keys_of([])


@pytest.fixture
def server(servers: Servers) -> Server:
    return servers.of("debian")


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server whose settings may be spoilt; it keeps what it acknowledges."""
    server = Server("debian")
    yield server
    server.remove()


# --- what is asked of a server


@pytest.mark.parametrize(
    ("setting", "value"),
    [("synchronous_commit", "off"), ("synchronous_commit", "remote_write"),
     ("synchronous_commit", "local"), ("full_page_writes", "off")],
)  # fmt: skip
def test_a_server_that_would_lose_what_it_acknowledged_is_refused(
    own: Server, setting: str, value: str
) -> None:
    address = own.database()
    before = own.admin(f"SHOW {setting}")[0][0]
    own.set(setting, value)
    try:
        with pytest.raises(UnavailableError, match=f"{setting} is {value}: .* set it to on"):
            PostgresDatabase(address)
    finally:
        own.set(setting, before)


def test_a_server_without_fsync_is_refused(server: Server) -> None:
    server.admin("ALTER ROLE node SET synchronous_commit = on")
    try:
        with pytest.raises(UnavailableError, match="fsync is off"):
            PostgresDatabase(server.emptied())
    finally:
        server.admin("ALTER ROLE node RESET synchronous_commit")


def test_a_reload_does_not_make_commits_less_durable(own: Server) -> None:
    database = PostgresDatabase(own.database())
    with closing(StoreEngine(database, KEYS)) as engine:
        own.set("synchronous_commit", "off")
        try:
            assert engine.run_group([unit(peer("a"))]) == [Done(None)]
            writer = database._writer
            assert writer is not None
            assert writer.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        finally:
            own.set("synchronous_commit", "on")


@pytest.mark.parametrize(
    "options",
    ["ENCODING 'LATIN1' LOCALE 'C'", "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'zh-CN'"],
)
def test_a_database_whose_order_may_change_is_refused(server: Server, options: str) -> None:
    address = server.database(f"TEMPLATE template0 {options}")
    with pytest.raises(UnavailableError, match=r"UTF-8 and sort by code points .* LOCALE 'C'"):
        PostgresDatabase(address, durable=False)


# --- how a session gets in


def test_a_password_comes_from_its_file_and_is_never_said(own: Server, tmp_path: Path) -> None:
    own.admin("CREATE ROLE clerk LOGIN PASSWORD 'right 密码'")
    own.admin("ALTER ROLE clerk CREATEDB")
    address = own.database("TEMPLATE template0 OWNER clerk")
    own.require_password("clerk")
    file = tmp_path / "password"
    told = Address(address.url.replace("//node@", "//clerk@"), file)

    def refused(words: str) -> None:
        with pytest.raises(UnavailableError, match=words) as caught:
            PostgresDatabase(told)
        assert "密码" not in str(caught.value)

    refused("No such file")
    file.write_text("wrong 密码\n")
    file.chmod(0o640)
    refused(r"others may read it \(mode 640\): chmod 600")
    file.chmod(0o600)
    refused("password authentication failed")
    file.write_text("right 密码\n")
    with closing(StoreEngine(PostgresDatabase(told), KEYS)) as engine:
        assert engine.run_group([unit(peer("a"))]) == [Done(None)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://n@db.example/t", "verify-full"),
        ("postgresql://n@10.0.0.1,10.0.0.2/t", "verify-full"),
        ("postgresql://n@db.example/t?sslmode=require", "require"),
        ("postgresql://n@localhost/t", None),
        ("postgresql://n@/t?host=/run/postgresql", None),
        ("postgresql://n@/t", None),
    ],
)
def test_over_a_network_the_servers_certificate_is_checked(url: str, expected: str | None) -> None:
    told = conninfo_to_dict(Address(url).conninfo(1))
    assert told.get("sslmode") == expected
    assert told["target_session_attrs"] == "read-write"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://n@db.example/t?sslmod=require", 'invalid URI query parameter: "sslmod"'),
        ("postgresql://n:secret@db.example/t", "a password does not belong here"),
        ("postgresql://n@db.example/t?password=secret", "a password does not belong here"),
        ("postgresql://n@db.example", "not of the form"),
        ("host=db.example dbname=t", "not of the form"),
        ("mysql://n@db.example/t", "missing"),
    ],
)
def test_what_is_no_address_is_refused_by_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Address(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"t at {tmp_path}: connection"):
        PostgresDatabase(Address(f"postgresql://n@/t?host={tmp_path}"))
