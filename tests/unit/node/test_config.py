from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from node.config import Config, ConfigError, Problem, keys_of, load_config
from node.config_text import default_config_text
from node.toml_text import line_of, toml_value
from protocol.errors import LocalUseError
from signing.suites import Suite

WHOLE = """\
[node]
id = "420100"
name = "武汉市节点"
environment = "trial"

[store]
path = "data/node.db"

[peers]
host = "0.0.0.0"
port = 8443
url = "https://wuhan.example:8443"

[local]
port = 8080
token_file = "/run/tongban/token"

[trust]
anchor = "anchor.json"
directories = [
    "hubei.json",
    "hunan.json",
]
catalogue = ["catalogue.json"]

[keys]
directory = "keys"

[tls]
directory = "tls"
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "node.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(folder: Path, text: str | bytes) -> tuple[Problem, ...]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert {problem.file for problem in error.value.problems} == {path}
    return error.value.problems


def problem(folder: Path, text: str | bytes) -> Problem:
    (only,) = problems(folder, text)
    return only


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, WHOLE))
    assert (config.node.id, config.node.name, config.node.environment) == (
        *("420100", "武汉市节点", "trial"),
    )
    assert config.node.suite is Suite.SM2_SM3
    assert (config.peers.host, config.peers.port) == ("0.0.0.0", 8443)  # noqa: S104
    assert config.peers.url == "https://wuhan.example:8443"
    assert (config.local.host, config.local.port) == ("127.0.0.1", 8080)
    assert (config.limits.lifetime_days, config.limits.posts_per_peer) == (30, 4)
    assert (config.log.level, config.log.format) == ("info", "text")
    assert (config.parts.in_progress_gib, config.parts.per_peer_gib) == (64, 16)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, WHOLE)
    monkeypatch.chdir("/")
    config = load_config(path)
    assert config.store.path == tmp_path / "data" / "node.db"
    assert config.local.token_file == Path("/run/tongban/token")
    assert config.parts.folder == tmp_path / "parts"
    elsewhere = load_config(write(tmp_path, WHOLE + '[parts]\nfolder = "/srv/parts"\n'))
    assert elsewhere.parts.folder == Path("/srv/parts")
    assert config.trust.directories == (tmp_path / "hubei.json", tmp_path / "hunan.json")


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, WHOLE))
    with pytest.raises(ValidationError, match="frozen"):
        config.peers.port = 1


@pytest.mark.parametrize("name", ["TONGBAN_PEERS_PORT", "PEERS__PORT", "PEERS_PORT"])
def test_the_environment_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert load_config(write(tmp_path, WHOLE)).peers.port == 8443


def on_server(store: str) -> str:
    return WHOLE.replace('path = "data/node.db"', store)


def test_a_store_is_a_file_or_a_database_on_a_server(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, on_server(""))).store.path == tmp_path / "node.db"
    url = "postgresql://tongban@db1,db2:5433/tongban?sslmode=verify-ca"
    store = load_config(write(tmp_path, on_server(f'url = "{url}"'))).store
    assert (store.url, store.password_file) == (url, None)
    told = on_server(f'url = "{url}"\npassword_file = "secret"')
    assert load_config(write(tmp_path, told)).store.password_file == tmp_path / "secret"


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ('path = "a"\nurl = "postgresql://n@h/t"', "either `path` (SQLite) or `url` (PostgreSQL)"),
        ('password_file = "a"', "`password_file` goes with `url`"),
        ('url = "postgresql://n@h/t?sslmod=x"', 'invalid URI query parameter: "sslmod"'),
        ('url = "postgresql://n:secret@h/t"', "a password does not belong here"),
        ('url = "postgresql://n@h/t?password=secret"', "a password does not belong here"),
        ('url = "mysql://n@h/t"', "missing"),
        ('url = "postgresql://n@h"', "not of the form postgresql://role@host:port/database"),
    ],
)
def test_a_store_that_is_neither_stops_the_start(tmp_path: Path, store: str, words: str) -> None:
    told = problem(tmp_path, on_server(store))
    assert words in told.what
    assert told.line in (6, 7)
    assert "secret" not in str(told)


# --- what stops the start: where, what, remedy


def test_a_misspelt_key_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace("port = 8443", "prot = 8443"))
    assert told == Problem(
        tmp_path / "node.toml",
        *(11, "unknown: `prot` in [peers]", "did you mean `port` in [peers]?"),
    )
    assert str(told) == (
        f"{tmp_path / 'node.toml'}:11: unknown: `prot` in [peers]\n"
        "    -> did you mean `port` in [peers]?"
    )


def test_a_key_in_the_wrong_section_is_told_where_it_belongs(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace("[tls]", '[tls]\ntoken_file = "x"'))
    assert (told.line, told.what) == (30, "unknown: `token_file` in [tls]")
    assert told.remedy == "it belongs in [local]"


def test_a_key_unlike_any_is_told_what_there_is(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace("[store]", '[store]\nxyzzy = "x"'))
    assert (told.line, told.remedy) == (7, "delete it; known here: path, url, password_file")


def test_a_misspelt_section_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace("[store]", "[sotre]"))
    assert (told.line, told.what, told.remedy) == (6, "unknown: [sotre]", "did you mean [store]?")


def test_a_missing_key_is_told_with_an_example(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace("port = 8443\n", ""))
    assert (told.line, told.what) == (9, "missing: `port` in [peers]")
    assert told.remedy == "for example: port = 8443   # 监听端口 (port to listen on)"


def test_a_missing_section_is_told_at_the_end(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace('[tls]\ndirectory = "tls"\n', ""))
    assert (told.line, told.what) == (27, "missing: [tls]")
    assert "[tls]" in told.remedy
    assert [found.line for found in problems(tmp_path, "")] == [1] * 7


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        (
            "port = 8443",
            'port = "8443"',
            11,
            "`port` in [peers] is '8443': Input should be a valid",
        ),
        (
            "port = 8443",
            "port = true",
            11,
            "`port` in [peers] is True: Input should be a valid int",
        ),
        (
            "port = 8443",
            "port = 70000",
            11,
            "is 70000: Input should be less than or equal to 65535",
        ),
        ("port = 8443", "port = 0", 11, "is 0: Input should be greater than or equal to 1"),
        (
            'id = "420100"',
            "id = 420100",
            2,
            "`id` in [node] is 420100: Input should be a valid str",
        ),
        (
            'id = "420100"',
            'id = "武汉"',
            2,
            "is '武汉': not a region code of six digits (GB/T 2260)",
        ),
        ('"trial"', '"test"', 4, "is 'test': Input should be 'trial' or 'production'"),
        ('"trial"', '"trial"\nsuite = "rsa"', 5, "is 'rsa': Input should be 'sm2-sm3', 'ecdsa"),
        (
            'name = "武汉市节点"',
            'name = ""',
            3,
            "`name` in [node] is '': String should have at least",
        ),
        ('path = "data/node.db"', 'path = ""', 7, "is '': has to be a path, as text"),
        ('path = "data/node.db"', "path = 7", 7, "is 7: has to be a path, as text"),
        (
            '["catalogue.json"]',
            '"catalogue.json"',
            24,
            "is 'catalogue.json': has to be a list of t",
        ),
        (
            '["catalogue.json"]',
            "[]",
            24,
            "`catalogue` in [trust] is []: has to name at least one",
        ),
        ('"hunan.json"', "7", 20, "`directories` in [trust] is 7: has to be a path"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, what: str
) -> None:
    told = problem(tmp_path, WHOLE.replace(old, new, 1))
    assert told.line == line
    assert what in told.what
    assert told.remedy.startswith("for example: ")


FERRY = """
[[ferry]]
node = "420600"
out = "gate/out"
in = "gate/in"
round_trip_s = 120

[[ferry]]
node = "430600"
out = "/srv/gate/out"
in = "/srv/gate/in"
round_trip_s = 5
max_file_kib = 1024
"""


def test_links_over_gates_are_listed_one_by_one(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, WHOLE)).ferry == ()
    one, other = load_config(write(tmp_path, WHOLE + FERRY)).ferry
    assert (one.node, one.round_trip_s, one.max_file_kib) == ("420600", 120, 16 * 1024)
    assert (one.out, one.into) == (tmp_path / "gate/out", tmp_path / "gate/in")
    assert (other.into, other.max_file_kib) == (Path("/srv/gate/in"), 1024)


@pytest.mark.parametrize(
    ("old", "new", "what", "remedy"),
    [
        ("round_trip_s = 120", "", "missing: `round_trip_s` in [[ferry]]", "for example: round_t"),
        ('in = "gate/in"', 'into = "gate/in"', "unknown: `into` in [[ferry]]", "did you mean `in`"),
        ("max_file_kib = 1024", "max_file_kib = 8", "greater than or equal to 65", "for example"),
        ('"430600"', '"420600"', "420600 is given twice", "write the section [[ferry]]"),
        ('"/srv/gate/in"', '"gate/out"', "gate/out is given twice", "write the section [[ferry]]"),
        ('"420600"', '"襄阳"', "`node` in [[ferry]] is", "for example: node ="),
    ],
)
def test_a_link_over_a_gate_is_checked_like_any_section(
    tmp_path: Path, old: str, new: str, what: str, remedy: str
) -> None:
    told = problem(tmp_path, (WHOLE + FERRY).replace(old, new, 1))
    assert what in told.what
    assert remedy in told.remedy
    assert (told.line or 0) > WHOLE.count("\n")


@pytest.mark.parametrize(
    "url",
    [
        *("http://wuhan.example", "wuhan.example:8443", "https://", "https://a:b@wuhan.example"),
        *("https://wuhan.example/path", "https://wuhan.example?x", "https://wuhan.example:0"),
        *("https://wuhan.example:x", "https://wuhan.example:99999", "https://[::1", "https:// a"),
    ],
)
def test_only_a_plain_https_address_is_advertised(tmp_path: Path, url: str) -> None:
    told = problem(tmp_path, WHOLE.replace("https://wuhan.example:8443", url))
    assert told.line == 12
    assert told.what.startswith(f"`url` in [peers] is '{url}': not of the form https://host:port")


@pytest.mark.parametrize("url", ["https://wuhan.example", "https://[2001:db8::1]:8443/"])
def test_an_address_is_kept_without_its_slash(tmp_path: Path, url: str) -> None:
    config = load_config(write(tmp_path, WHOLE.replace("https://wuhan.example:8443", url)))
    assert config.peers.url == url.rstrip("/")


def test_a_section_that_is_a_value_is_told_so(tmp_path: Path) -> None:
    told = problem(tmp_path, "store = 3\n" + WHOLE.replace('[store]\npath = "data/node.db"', ""))
    assert (told.line, told.what) == (1, "[store] is 3: has to be a section")


def test_everything_is_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = WHOLE.replace("8443\n", "0\n", 1).replace("[node]", "[node]\nnmae = 1")
    text = text.replace("420100", "0")
    assert [found.line for found in problems(tmp_path, text)] == [2, 3, 12]


def test_a_long_value_is_not_poured_out(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.replace('"trial"', f'"{"x" * 5000}"'))
    assert len(told.what) < 200


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[node]\nid = \n", 2),
        ("[node]\nid = 'x\nname = 'y'\n", 2),
        ("[node]\nid = '1'\nid = '2'\n", 3),
        ("[node", 1),
        ("[node]\n\nid = [\n", 3),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    told = problem(tmp_path, text)
    assert told.line == line
    assert told.what.startswith("not TOML: ")


def test_what_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    told = problem(tmp_path, WHOLE.encode("gb18030"))
    assert (told.line, told.what, told.remedy) == (3, "not UTF-8", "save the file as UTF-8")


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, WHOLE.encode("utf-8-sig"))).node.id == "420100"


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file") as error:
        load_config(path)
    assert error.value.problems[0].line is None
    assert "run_node.py init" in error.value.problems[0].remedy


# --- the line of a key

NESTED = '''\
top = 1
a.b."c d" = 2
text = """
[not]
a = 'table'
"""

[x.y]  # comment
list = [
    1,  # one
    { k = 2 },
]
in.line = { p = 1, q = { r = 2 } }

[[x.z]]
name = "first"

[[x.z]]
name = "second"
  [x.z.deep]
  v = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 1),
        (("a", "b", "c d"), 2),
        (("text",), 3),
        (("x",), 8),
        (("x", "y"), 8),
        (("x", "y", "list"), 9),
        (("x", "y", "list", 1, "k"), 9),
        (("x", "y", "in", "line", "q", "r"), 13),
        (("x", "z"), 15),
        (("x", "z", 0, "name"), 16),
        (("x", "z", 1), 18),
        (("x", "z", 1, "name"), 19),
        (("x", "z", 1, "deep", "v"), 21),
        (("x", "z", 1, "missing"), 18),
        (("x", "y", "list", 7), 9),
        (("missing",), 21),
        (("missing", "key"), 21),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_line_of_a_key_is_where_its_statement_begins(
    path: tuple[str | int, ...], line: int, ending: str
) -> None:
    assert line_of(NESTED.replace("\n", ending), path) == line


# --- the file that init writes


def test_the_first_file_is_read_without_complaint(tmp_path: Path) -> None:
    text = default_config_text(
        {
            "node": {"id": "420600", "name": '襄阳 "市"\\节点', "suite": Suite.P256.value},
            "peers": {"port": 9443, "url": "https://xiangyang.example:9443"},
            "trust": {"directories": ("a.json", "b.json")},
            "log": {"level": "debug"},
        }
    )
    config = load_config(write(tmp_path, text))
    assert config.node.name == '襄阳 "市"\\节点'
    assert (config.node.suite, config.peers.port) == (Suite.P256, 9443)
    assert config.trust.directories == (tmp_path / "a.json", tmp_path / "b.json")
    assert (config.log.level, config.log.format) == ("debug", "text")


def test_defaults_stand_in_the_first_file_as_comments(tmp_path: Path) -> None:
    text = default_config_text({})
    with_comments = load_config(write(tmp_path, text))
    assert '# suite = "sm2-sm3"\n' in text
    switched_on = text.replace("\n# suite =", "\nsuite =").replace("\n# posts =", "\nposts =")
    assert switched_on.count("\n# ") == text.count("\n# ") - 2
    assert load_config(write(tmp_path, switched_on)) == with_comments


def test_every_key_is_explained_in_both_languages() -> None:
    lines = default_config_text({}).splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line]
    assert len(keys) == sum(len(keys_of(section)) for section in Config.model_fields)
    for number in keys:
        chinese, dot, english = lines[number - 1].partition(" · ")
        assert dot
        assert any("\u4e00" <= character <= "\u9fff" for character in chinese)
        assert english


def test_init_cannot_write_what_would_not_be_read() -> None:
    with pytest.raises(LocalUseError, match=r"\[peers\] prot, \[sotre\] path"):
        default_config_text({"peers": {"prot": 1}, "sotre": {"path": "x"}})


@given(st.text())
@example("\x7f")
def test_any_text_survives_being_written(text: str) -> None:
    assert tomllib.loads(f"key = {toml_value(text)}") == {"key": text}
