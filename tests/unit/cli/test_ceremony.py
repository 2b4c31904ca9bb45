"""The offline ceremony: seven keepers with one key each, two of three for whatever counts."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from node.clock import SystemClock
from routing.directory_province import open_province
from routing.directory_roles import TrustAnchor
from tests.ceremony import Office, refused
from tests.command_line import asked, done, run
from tests.homes import WUHAN, bureau, operator, window
from tests.unit.routing.services import basis, item

if TYPE_CHECKING:
    from pathlib import Path

    from routing.directory_province import Province

ITEMS = {
    "version": 1,
    "environment": "trial",
    "prefix": "42",
    "issued_ms": 1,
    "items": [item("000720001000", bases=(basis("residence"),)).model_dump(mode="json")],
}


def admit(office: Office) -> None:
    """A node's home, and its request taken into the draft."""
    home = office.folder / "home"
    done(
        *("init", home, "--node", WUHAN, "--name", "武汉市节点", "--operator", operator(WUHAN)),
        *("--url", "https://127.0.0.1:18443", "--suite", "ed25519"),
    )
    done(
        *("directory", "admit", home / "request.json", "-p", office.publisher),
        *("--region", f"{WUHAN},武汉市,420000"),
        *("--authority", f"{operator(WUHAN)},武汉市政务服务中心,{WUHAN},027-00000000"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A province in force: root, directory, items, freshness."""
    office = Office(tmp_path_factory.mktemp("office"))
    office.found()
    admit(office)
    office.publish_items(ITEMS)
    office.issue()
    return office


@pytest.fixture
def office(made: Office, tmp_path: Path) -> Office:
    return Office(shutil.copytree(made.folder, tmp_path / "office"))


def taken(office: Office) -> Province:
    """What a node takes of what is published."""
    anchor = TrustAnchor.read(office.anchor.read_bytes())
    files = [path.read_bytes() for path in office.published.glob("*.json")]
    sets = [octets for octets in files if b"catalogue+json" not in octets]
    return open_province(sets, anchor.entry("42"), SystemClock().now_ms())


def key_id(office: Office, role: str, number: int = 1) -> str:
    public = json.loads((office.keeper(role, number) / "public.json").read_bytes())
    found: str = public["key"]["id"]
    return found


def test_what_two_of_three_signed_is_what_nodes_take(office: Office) -> None:
    province = taken(office)
    assert [len(row.keys) for row in (province.root.payload.root, province.root.payload.directory)]
    assert (province.payload.version, province.freshness.payload.items is not None) == (1, True)
    assert [row.id for row in province.payload.nodes] == [WUHAN]
    assert not list((office.publisher / "pending").iterdir())


def test_each_signer_is_shown_what_changes_and_who_is_still_missing(office: Office) -> None:
    draft = office.publisher / "draft.json"
    draft.write_text(draft.read_text(encoding="utf-8").replace("027-00000000", "027-11111111"))
    done("directory", "draft", "-p", office.publisher)
    first, second = office.sign("directory", 3, 1)
    for told in (first, second):
        (line,) = [row for row in told.splitlines() if "authorities" in row]
        assert line.startswith(f"  ~ authorities[{operator(WUHAN)}]")
        assert "telephone=027-00000000" in line
        assert "telephone=027-11111111" in line
    assert "尚缺 still needed: 1 / " in first
    assert "保管人1" in first
    assert "directory publish" in second


def test_nobody_signs_unseen(office: Office) -> None:
    done("directory", "draft", "-p", office.publisher)
    words = ("directory", "sign", office.pending("directory"), "--key", office.keeper("directory"))
    ending = run(*words)
    assert (ending.code, "--yes" in ending.err) == (2, True)
    assert "变更 changes since 1" in ending.out
    pending = office.pending("directory")
    pending.write_bytes(pending.read_bytes().replace(b"eyJ", b"eyK", 1))
    assert run(*words, "--yes").code == 1


@pytest.mark.spec("DI-1")
def test_too_few_signatures_are_not_published(office: Office) -> None:
    done("directory", "draft", "-p", office.publisher)
    office.sign("directory", 2)
    ending = run("directory", "publish", "-p", office.publisher)
    assert "尚缺 still needed" in ending.out
    refused(ending, "无一完成")
    office.sign("directory", 2)
    refused(run("directory", "publish", "-p", office.publisher), "无一完成")
    office.sign("directory", 3)
    office.publish()


@pytest.mark.spec("DI-1")
@pytest.mark.parametrize("role", ["root", "freshness"])
def test_a_key_of_another_role_has_no_say(office: Office, role: str) -> None:
    done("directory", "draft", "-p", office.publisher)
    signing = ("directory", "sign", office.pending("directory"), "--yes")
    refused(run(*signing, "--key", office.keeper(role)), "无权签署")
    refreshing = ("directory", "freshness", "sign", "-p", office.publisher)
    refused(run(*refreshing, "--key", office.keeper("directory")), "freshness")


@pytest.mark.spec("DI-6")
def test_a_lost_root_key_is_replaced_by_the_other_two(office: Office) -> None:
    before = taken(office)
    public = office.make_key("root", 4)
    lost = key_id(office, "root", 3)[:12]
    told = done(
        *("directory", "root", "rotate", "-p", office.publisher),
        *("--drop", lost, "--key", public),
    )
    assert f"- 根 root 密钥 key {key_id(office, 'root', 3)}" in told
    assert f"+ 根 root 密钥 key {key_id(office, 'root', 4)}" in told
    office.sign("root", 1)
    refused(run("directory", "publish", "-p", office.publisher), "无一完成")
    office.sign("root", 4)
    ending = run("directory", "publish", "-p", office.publisher)
    refused(ending, "无一完成")
    assert "尚缺" in ending.out, "two of the new are not two of the old"
    office.sign("root", 2)
    assert "尚不成套" in office.publish(), "freshness still names the first root"
    assert "目录 directory 1" in office.refresh()
    after = taken(office)
    assert [root.payload.version for root in after.roots] == [1, 2]
    assert after.directory == before.directory, "no directory key has changed"


@pytest.mark.spec("DI-6", "DI-11")
def test_a_stolen_directory_key_is_taken_out_and_what_it_signed_is_signed_anew(
    office: Office,
) -> None:
    public = office.make_key("directory", 4)
    stolen = key_id(office, "directory", 1)
    done(
        *("directory", "root", "rotate", "-p", office.publisher),
        *("--drop", stolen, "--key", public),
    )
    office.sign("root")
    told = office.publish()
    assert told.count("须重签") == 2
    words = ("directory", "freshness", "sign", "-p", office.publisher)
    refused(run(*words, "--key", office.keeper("freshness")), "no directory by the present keys")
    thief = ("directory", "sign", office.pending("directory"), "--yes")
    refused(run(*thief, "--key", office.keeper("directory", 1)), "无权签署")
    office.sign("directory", 2, 4)
    office.publish()
    refused(run(*words, "--key", office.keeper("freshness")), "no items by the present keys")
    office.sign("items", 3, 4)
    office.publish()
    office.refresh()
    province = taken(office)
    assert (province.payload.version, len(province.roots)) == (2, 2)
    assert province.freshness.payload.items is not None
    assert province.freshness.payload.items.version == 2


@pytest.mark.spec("DI-10")
def test_one_keeper_revokes_and_the_next_directory_says_so_itself(office: Office) -> None:
    words = ("directory", "revoke", WUHAN, "-p", office.publisher, "--ground", "机房失窃")
    refused(run(*words, "--key", office.keeper("root")), "no directory key")
    done(*words, "--key", office.keeper("directory", 3))
    assert all(record.revoked_ms is not None for record in taken(office).records())
    assert taken(office).struck() == {WUHAN}
    assert "吊销 revocations 1" in office.refresh()
    office.issue()
    province = taken(office)
    assert all(key.revoked_ms is not None for key in province.payload.keys)
    assert len(province.revocations) == 1, "the certificate is still the listed one"
    unknown = ("directory", "revoke", "9" * 43, "-p", office.publisher, "--ground", "x")
    refused(run(*unknown, "--key", office.keeper("directory")), "neither a key nor a node")


def test_a_revoked_key_leaves_its_statement_once_the_directory_says_it(office: Office) -> None:
    (first, *_rest) = taken(office).payload.keys
    words = ("directory", "revoke", first.id, "-p", office.publisher, "--ground", "密钥遗失")
    done(*words, "--key", office.keeper("directory"))
    office.refresh()
    office.issue()
    province = taken(office)
    assert province.revocations == ()
    assert province.records()[0].revoked_ms is not None


def test_freshness_goes_on_by_itself_and_never_over_what_does_not_hold(office: Office) -> None:
    one = taken(office).freshness.payload
    office.refresh()
    other = taken(office).freshness.payload
    assert (one.directory, one.items) == (other.directory, other.items)
    assert other.issued_ms > one.issued_ms
    directory = office.published / "directory-42-1.json"
    directory.write_bytes(directory.read_bytes().replace(b'"sig":"', b'"sig":"AA', 1))
    words = ("directory", "freshness", "sign", "-p", office.publisher)
    assert run(*words, "--key", office.keeper("freshness")).code == 1
    assert taken_freshness(office) == other.issued_ms


def taken_freshness(office: Office) -> int:
    """When the published freshness statement was signed."""
    shown = asked("directory", "show", office.published / "freshness-42.json")
    issued_ms: int = shown["issued_ms"]
    return issued_ms


def test_a_directory_that_runs_out_soon_is_mentioned(office: Office) -> None:
    done("directory", "draft", "-p", office.publisher, "--days", "1")
    office.sign("directory")
    office.publish()
    assert "天后过期" in office.refresh()


@pytest.mark.spec("DI-15")
def test_a_succession_is_entered_and_shown_to_the_signers(office: Office) -> None:
    heir = window(WUHAN)
    admitting = (
        *("directory", "admit", office.folder / "home" / "request.json", "-p", office.publisher),
        *("--authority", f"{heir},武汉市行政审批局,{WUHAN},027-00000001"),
    )
    done(*admitting)
    words = ("-p", office.publisher, "--since", "2026-12-01T00:00:00.000Z")
    refused(run("directory", "succeed", operator(WUHAN), bureau(WUHAN), *words), "没有此机关")
    refused(run("directory", "succeed", bureau(WUHAN), heir, *words), "is not listed at")
    done("directory", "succeed", operator(WUHAN), heir, *words)
    told = done("directory", "draft", "-p", office.publisher)
    assert f"+ authorities[{heir}]" in told
    assert f"succeeds=[uscc={operator(WUHAN)} since_ms=2026-12-01T00:00:00.000Z]" in told
    done(*admitting)
    draft = json.loads((office.publisher / "draft.json").read_bytes())
    (row,) = [row for row in draft["authorities"] if row["uscc"] == heir]
    assert len(row["succeeds"]) == 1, "admitting again forgets no succession"


def test_anchors_of_provinces_are_joined_and_never_replaced(office: Office) -> None:
    hunan = Office(office.folder / "hunan", prefix="43")
    hunan.found()
    joint = office.folder / "joint.json"
    told = done("directory", "pin", office.anchor, hunan.anchor, "--out", joint)
    pins = {row.prefix: row.root.digest for row in TrustAnchor.read(joint.read_bytes()).anchors}
    assert set(pins) == {"42", "43"}
    assert all(digest in told for digest in pins.values())
    other = Office(office.folder / "other")
    other.found()
    words = ("directory", "pin", joint, other.anchor, "--out", office.folder / "x.json")
    refused(run(*words), "otherwise")


def test_what_a_directory_had_better_not_do_is_said(office: Office) -> None:
    advice = asked("directory", "check", office.published, "--trust", office.anchor)
    assert "list two" in advice["provinces"][0]["advice"][0]


def test_an_expired_set_is_told_by_check(office: Office) -> None:
    hour = ("directory", "freshness", "sign", "-p", office.publisher, "--hours", "1")
    done(*hour, "--key", office.keeper("freshness"))
    assert asked("directory", "check", office.published, "--trust", office.anchor)["provinces"]
    stale = office.published / "freshness-42.json"
    stale.unlink()
    ending = run("directory", "check", office.published, "--trust", office.anchor)
    assert (ending.code, "stale-directory" in ending.err) == (3, True)


def test_a_root_is_not_proposed_with_fewer_keys_than_it_asks_for(tmp_path: Path) -> None:
    office = Office(tmp_path)
    publics = [office.make_key(role, 1) for role in ("root", "directory", "freshness")]
    keys = [word for public in publics for word in ("--key", public)]
    words = ("directory", "root", "init", office.publisher, "--prefix", "42", "--name", "湖北省")
    refused(run(*words, *keys), "2 of 1 keys")
    assert not office.publisher.exists()
    assert run(*words, *keys[:4], "--root-threshold", "1").code == 2
    refused(run(*words[:5], "43", "--name", "湖南省", *keys), "for 42")
