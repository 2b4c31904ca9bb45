"""The attacks on a province's directory, one test each; docs/directory-attacks.md lists them.

The first line of a test's docstring names the attack and says, after the arrow, what comes of it.
Every document here is signed by keys that really hold: the attacker has some of them, or the disk,
or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS
from protocol.reasons import Reason
from routing import directory_province as module
from routing.directory import Directory, Standing
from routing.directory_document import DIRECTORY_TYPE, RegionEntry
from routing.directory_memory import Accepted, admit, remember
from routing.directory_province import open_province
from routing.directory_roles import FRESHNESS_TYPE, ROOT_TYPE, Role, RoleKey
from routing.directory_views import Ahead, Behind, Split, compare_views, read_view, write_view
from routing.payload import digest_of, read_model, write_payload
from signing.document import assemble_document, read_claims, sign_document
from signing.keys import KeyUse
from tests.unit.routing.provinces import (
    DAY_MS,
    ISSUED_MS,
    authority,
    freshness_payload,
    key_entry,
    make_key,
    named,
    node,
    pin,
    province,
    revocation,
    role,
    role_keys,
    root,
    root_payload,
    sign,
    sign_freshness,
    sign_root,
    uscc,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routing.directory_document import DirectoryPayload
    from routing.directory_province import Province
    from routing.directory_roles import AnchorEntry, RootPayload
    from signing.suites import PrivateKey

HOUR_MS = 3_600_000
NOW_MS = ISSUED_MS + 6 * HOUR_MS
GRACE_MS = 15 * DAY_MS
ROOT = root("42")
ROOT_KEYS = role_keys("42", "root")
DIRECTORY_KEYS = role_keys("42", "directory")
FRESHNESS_KEY = role_keys("42", "freshness")[0]
NEW_KEYS = [make_key(f"new {number}") for number in range(3)]
RECEIPT_KEY = key_entry("receipt", KeyUse.RECEIPT, "420100", "420100")


@dataclass
class Reader:
    """What a node does with a province's files: takes a set, remembers it, goes on with it."""

    pinned: AnchorEntry
    accepted: Accepted | None = None
    held: Province | None = None

    def take(self, files: Iterable[bytes], now_ms: int = NOW_MS) -> Province:
        province = open_province(files, self.pinned, now_ms)
        admit(province, self.accepted, now_ms)
        self.accepted, self.held = remember(province), province
        return province

    def restart(self) -> None:
        """All that survives is what was written down."""
        assert self.accepted is not None
        text = self.accepted.model_dump_json().encode()
        self.accepted, self.held = read_model(Accepted, text), None

    def refuses(self, files: Iterable[bytes], words: str, now_ms: int = NOW_MS) -> Reason:
        """The reason; whatever was in force stays so."""
        before = self.accepted
        with pytest.raises((RefusedError, UnavailableError), match=words) as caught:
            self.take(files, now_ms)
        assert self.accepted == before
        reason: Reason = caught.value.reason
        return reason


@pytest.fixture
def reader() -> Reader:
    return Reader(pin(ROOT))


def hubei(version: int = 1, **changes: Any) -> DirectoryPayload:
    payload = province("42", [node("420100")], keys=(RECEIPT_KEY,), version=version)
    return payload.model_copy(update=changes)


def issue(
    version: int = 1,
    *,
    after_ms: int = 0,
    signers: Sequence[PrivateKey] = (),
    roots: Sequence[bytes] = (ROOT,),
    more: Sequence[bytes] = (),
    fresh_by: PrivateKey = FRESHNESS_KEY,
    says: dict[str, Any] | None = None,
    **changes: Any,
) -> list[bytes]:
    """A set: roots, a directory, its freshness statement signed `after_ms` later."""
    payload = hubei(version, **changes)
    directory = sign(payload, *signers)
    values: dict[str, Any] = {
        "issued_ms": ISSUED_MS + after_ms,
        "expires_ms": ISSUED_MS + after_ms + DAY_MS,
        "root": named(roots[-1], len(roots)),
        **(says or {}),
    }
    fresh = sign_freshness(freshness_payload(payload, directory, **values), fresh_by)
    return [*roots, directory, *more, fresh]


def rotated(*signers: PrivateKey, **changes: Any) -> bytes:
    """A second root, with everything as before but these changes."""
    changed = {"version": 2, **changes}
    return sign_root(root_payload("42", **changed), *(signers or ROOT_KEYS[:2]))


def without_lost(use: str, kept: Sequence[PrivateKey]) -> bytes:
    """A second root in which a role's third key has made room for a new one."""
    return rotated(**{use: [*kept, NEW_KEYS[0]]})


# --- older, and other


@pytest.mark.spec("DI-11")
def test_rollback(reader: Reader) -> None:
    """回滚 rollback: a set of last week is laid down again → refused, what is in force stays."""
    old, new = issue(1), issue(2, after_ms=HOUR_MS)
    reader.take(new)
    assert reader.refuses(old, "rollback") is Reason.DOCUMENT_INVALID
    mixed = issue(1, after_ms=2 * HOUR_MS)
    assert reader.refuses(mixed, "directory: .* a rollback") is Reason.DOCUMENT_INVALID
    reader.take(issue(2, after_ms=3 * HOUR_MS, says={"items": named(b"2", 2)}))
    for items in (named(b"1", 1), None):
        files = issue(2, after_ms=4 * HOUR_MS, says={"items": items})
        assert reader.refuses(files, "items: .* a rollback") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-11")
def test_rollback_of_the_root(reader: Reader) -> None:
    """回滚到旧根 rollback of the root: a lost key's root is shown again → refused."""
    reader.take(issue(roots=(ROOT, rotated())))
    assert reader.refuses(issue(after_ms=HOUR_MS), "root: .* a rollback") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-11")
def test_rollback_across_a_restart(reader: Reader) -> None:
    """重启后回滚 rollback across a restart: old files while the node is stopped → refused."""
    reader.take(issue(2, after_ms=HOUR_MS))
    reader.restart()
    assert reader.refuses(issue(1), "rollback") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-8", "DI-12")
def test_freeze(reader: Reader) -> None:
    """冻结 freeze: newer documents are kept from a node → alarm within 24 hours, then it waits."""
    held = reader.take(issue())
    view = Directory.merge([held], GRACE_MS)
    until_ms = ISSUED_MS + DAY_MS
    assert view.standing("42", until_ms - 1) is Standing.FRESH
    assert view.standing("42", until_ms) is Standing.GRACE
    assert view.standing("42", until_ms + GRACE_MS) is Standing.STALE
    eternal = issue(says={"expires_ms": ISSUED_MS + DAY_MS + 1})
    assert Reader(pin(ROOT)).refuses(eternal, "at most 86400000") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-7")
@pytest.mark.parametrize("swapped", ["root", "directory", "revocation"])
def test_mix_and_match(reader: Reader, swapped: str) -> None:
    """混搭 mix-and-match: good documents of different days together → no set, nothing is taken."""
    taken = revocation("42", RECEIPT_KEY)
    files = {
        "root": issue(2, roots=(ROOT, rotated()), says={"root": named(ROOT)}),
        "directory": [ROOT, sign(hubei(1)), issue(2)[-1]],
        "revocation": issue(2, says={"revocations": (digest_of(taken),)}),
    }
    reasons = {"root": Reason.DOCUMENT_INVALID}
    reason = reader.refuses(files[swapped], "does not go with|is not there|which the freshness")
    assert reason is reasons.get(swapped, Reason.STALE_DIRECTORY)


@pytest.mark.spec("DI-11", "DI-13")
def test_split_view(reader: Reader) -> None:
    """分裂视图 split view: one version, two contents → refused here, an alarm between peers."""
    mine = reader.take(issue(1))
    other = issue(1, after_ms=HOUR_MS, name="另一内容")
    assert reader.refuses(other, "split view") is Reason.DOCUMENT_INVALID
    theirs = Reader(pin(ROOT)).take(other)
    ours, shown = (Directory.merge([row]).view() for row in (mine, theirs))
    found = compare_views(ours, read_view(write_view(shown)))
    assert found[0] == Split("42", "directory", mine.directory.named, theirs.directory.named)
    newer = Directory.merge([Reader(pin(ROOT)).take(issue(2, after_ms=HOUR_MS))]).view()
    assert compare_views(ours, newer) == (Behind("42"),)
    assert compare_views(newer, ours) == (Ahead("42"),)
    assert compare_views(ours, ours) == ()


@pytest.mark.spec("DI-6", "DI-8", "DI-13")
def test_two_roots(reader: Reader) -> None:
    """两个根 two roots: a threshold signs two successors of one root → neither is taken."""
    roots = (ROOT, rotated(), rotated(name="另一内容"))
    assert reader.refuses(issue(roots=roots), "two roots of version 2") is Reason.DOCUMENT_INVALID
    moment = {"issued_ms": ISSUED_MS, "expires_ms": ISSUED_MS + HOUR_MS}
    both = [*issue(), issue(says=moment)[-1]]
    assert reader.refuses(both, "two statements of one instant") is Reason.DOCUMENT_INVALID


# --- what is another's


@pytest.mark.spec("DI-2")
@pytest.mark.parametrize("entry", ["node", "authority", "region", "key", "link"])
def test_foreign_region_entry(reader: Reader, entry: str) -> None:
    """越界条目 foreign entry: a province lists what lies in another → its document is refused."""
    changes: dict[str, dict[str, Any]] = {
        "node": {"nodes": (node("430100"),)},
        "authority": {"authorities": (authority("430100"),)},
        "region": {"regions": (RegionEntry(code="430100", name="长沙", parent=None),)},
        "key": {"keys": (key_entry("x", KeyUse.RECEIPT, "430100", "430100"),)},
        "link": {"links": (("430100", "420100"),)},
    }
    assert reader.refuses(issue(**changes[entry]), "lies outside 42") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-5")
def test_foreign_root(reader: Reader) -> None:
    """外省之根 foreign root: another province's keys sign for this one → not taken."""
    stolen = sign_root(root_payload("42"), *role_keys("43", "root")[:2])
    assert reader.refuses(issue(roots=(stolen,)), "is not there") is Reason.STALE_DIRECTORY
    other = Reader(pin(root("43")))
    assert other.refuses(issue(roots=(root("43"),)), "speaks for 43") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-4")
def test_foreign_claims(reader: Reader) -> None:
    """冒领 foreign claims: another's USCC, key or certificate is listed → it takes nothing."""
    victim = reader.take(issue())
    thief = province(
        "43",
        [node("430100")],
        more_authorities=[authority("430100", 1).model_copy(update={"uscc": uscc("420100")})],
        keys=[key_entry("receipt", KeyUse.RECEIPT, "430100", "430100")],
    )
    claimed = Reader(pin(root("43"), "43")).take(
        [root("43"), sign(thief), sign_freshness(freshness_payload(thief, sign(thief)))]
    )
    view = Directory.merge([claimed, victim])
    assert view.authority(uscc("420100"), "420100") == victim.payload.authorities[0]
    record = view.trust.key(RECEIPT_KEY.id, "420100")
    assert record is not None
    assert record.owner == "420100"
    twin = province("43", [node("430100", certificate=node("420100").certificate)])
    files = [root("43"), sign(twin), sign_freshness(freshness_payload(twin, sign(twin)))]
    with pytest.raises(RefusedError, match="does not name 430100"):
        open_province(files, pin(root("43"), "43"))


@pytest.mark.spec("DI-9")
@pytest.mark.parametrize("document", ["root", "directory", "freshness", "revocation"])
def test_environment_swap(reader: Reader, document: str) -> None:
    """环境调换 environment swap: a document of production in a trial → refused, or ignored."""
    taken = revocation("42", RECEIPT_KEY, environment="production")
    files = {
        "root": issue(roots=(ROOT, rotated(environment="production"))),
        "directory": issue(environment="production", says={"environment": "trial"}),
        "freshness": issue(says={"environment": "production"}),
        "revocation": issue(more=[taken]),
    }
    if document == "revocation":
        assert reader.take(files[document]).records()[0].revoked_ms is None
    else:
        reason = reader.refuses(files[document], "for production, the root is for trial")
        assert reason is Reason.ENVIRONMENT_MISMATCH


# --- too few, the wrong ones, the same twice


@pytest.mark.spec("DI-1", "DI-5")
@pytest.mark.parametrize("document", ["root", "directory"])
def test_threshold_minus_one(reader: Reader, document: str) -> None:
    """少一签 threshold minus one: one signature fewer than it takes → refused."""
    lone = sign_root(root_payload("42"), ROOT_KEYS[0])
    if document == "root":
        reader = Reader(pin(lone))
        files = issue(roots=(lone,))
    else:
        files = issue(signers=DIRECTORY_KEYS[:1])
    words = "1 signatures"
    assert reader.refuses(files, words) is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-1", "DI-5")
def test_same_signer_twice(reader: Reader) -> None:
    """一人两签 same signer twice: one key's signature stands for two → refused."""
    lone = sign(hubei(), DIRECTORY_KEYS[0])
    (row,) = lone.split(b'"signatures":[')[1].split(b"]}")[:1]
    doubled = lone.replace(row, row + b"," + row)
    fresh = sign_freshness(freshness_payload(hubei(), doubled))
    assert reader.refuses([ROOT, doubled, fresh], "one encoding") is Reason.DOCUMENT_INVALID
    twice = Role(threshold=2, keys=(DIRECTORY_KEYS[0].public.key_id,) * 2)
    bad = sign_root(root_payload("42").model_copy(update={"directory": twice}))
    reader = Reader(pin(bad))
    assert reader.refuses(issue(roots=(bad,)), "2 times") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-1", "DI-5")
@pytest.mark.parametrize("confused", ["freshness", "directory", "root", "type", "shared"])
def test_role_confusion(reader: Reader, confused: str) -> None:
    """角色混用 role confusion: a key of one role signs for another → refused."""
    if confused == "freshness":
        files = issue(signers=[FRESHNESS_KEY, DIRECTORY_KEYS[0]])
    elif confused == "directory":
        files = issue(fresh_by=DIRECTORY_KEYS[0])
    elif confused == "root":
        files = issue(roots=(ROOT, rotated(*DIRECTORY_KEYS[:2])))
    elif confused == "type":
        payload = write_payload(hubei())
        file = read_claims(sign_document(FRESHNESS_TYPE, payload, DIRECTORY_KEYS[:2]))
        moved = assemble_document(DIRECTORY_TYPE, payload, file.signatures)
        files = [ROOT, moved, sign_freshness(freshness_payload(hubei(), moved))]
    else:
        shared = root_payload("42").model_copy(update={"freshness": role(1, ROOT_KEYS[:1])})
        bad = sign_root(shared)
        assert Reader(pin(bad)).refuses(issue(roots=(bad,)), "one key, one role") is (
            Reason.DOCUMENT_INVALID
        )
        return
    assert reader.refuses(files, "none of the|does not verify") is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-5")
def test_revoking_takes_fewer_than_admitting() -> None:
    """门限颠倒 inverted thresholds: a root asks more to revoke than to admit → refused."""
    for revoking in (2, 3):
        bad = sign_root(root_payload("42", revoking=revoking))
        assert Reader(pin(bad)).refuses(issue(roots=(bad,)), "revoking") is Reason.DOCUMENT_INVALID


# --- keys change hands


@pytest.mark.spec("DI-6")
def test_rotation_without_the_old_threshold(reader: Reader) -> None:
    """旧根未签 rotation without the old threshold: new keys alone make a root → refused."""
    usurped = rotated(*NEW_KEYS[:2], root=NEW_KEYS)
    assert reader.refuses(issue(roots=(ROOT, usurped)), "root 1's") is Reason.DOCUMENT_SIGNATURE
    one_of_two = rotated(*NEW_KEYS[:2], ROOT_KEYS[0], root=NEW_KEYS)
    reason = reader.refuses(issue(roots=(ROOT, one_of_two)), "1 signatures by root 1's")
    assert reason is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-6")
def test_rotation_without_the_new_threshold(reader: Reader) -> None:
    """新根未签 rotation without the new threshold: to keys nobody holds → refused."""
    lost = rotated(*ROOT_KEYS[:2], NEW_KEYS[0], root=NEW_KEYS)
    assert reader.refuses(issue(roots=(ROOT, lost)), "by its own") is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-21")
@pytest.mark.parametrize("junk", ["unsigned by the old", "of nobody", "broken", "environment"])
def test_a_made_up_root(reader: Reader, junk: str) -> None:
    """假冒新根 a made-up next root: laid beside good documents to stop them → passed over."""
    made_up = {
        "unsigned by the old": lambda: rotated(*NEW_KEYS[:2], root=NEW_KEYS),
        "of nobody": lambda: sign_root(root_payload("42", root=NEW_KEYS, version=2), *NEW_KEYS),
        "broken": lambda: sign_document(ROOT_TYPE, b'{"prefix":"42","version":2}', NEW_KEYS),
        "environment": lambda: rotated(*NEW_KEYS[:2], root=NEW_KEYS, environment="production"),
    }[junk]()
    assert len(reader.take([made_up, *issue()]).roots) == 1
    # Newer good ones are taken beside it, the true second root too.
    newer = reader.take([*issue(2, after_ms=HOUR_MS), made_up], NOW_MS + HOUR_MS)
    assert newer.payload.version == 2
    files = issue(3, roots=(ROOT, rotated()), after_ms=2 * HOUR_MS)
    held = reader.take([made_up, *files], NOW_MS + 2 * HOUR_MS)
    assert len(held.roots) == 2
    # What was once followed is not left again for want of the root that led there.
    rest = [row for row in files if row != files[1]]
    reader.refuses([made_up, *rest], ".", NOW_MS + 2 * HOUR_MS)


@pytest.mark.spec("DI-6")
def test_rotation_that_skips_a_version(reader: Reader) -> None:
    """跳版本 a root that skips versions: version 9 after version 1 → it is not in the chain."""
    far = sign_root(root_payload("42", version=9))
    files = issue(roots=(ROOT, far), says={"root": named(far, 9)})
    assert reader.refuses(files, "does not go with") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-6")
def test_more_roots_than_a_chain_may_have(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """根链过长 a chain without end: a reader is kept at work → refused at the bound."""
    monkeypatch.setattr(module, "MAX_HISTORY", 3)
    roots = (ROOT, *(rotated(version=number) for number in (2, 3, 4)))
    assert len(reader.take(issue(roots=roots[:3])).roots) == 3
    assert reader.refuses(issue(roots=roots), "more than 3") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-6")
def test_rotation_after_a_loss_reaches_nodes_that_slept(reader: Reader) -> None:
    """丢钥更换 rotation after a lost key: two of three go on → every node follows, however late."""
    reader.take(issue())
    second = without_lost("root", ROOT_KEYS[:2])
    keys = [*ROOT_KEYS[:2], NEW_KEYS[0]]
    third = sign_root(root_payload("42", root=keys, version=3), ROOT_KEYS[0], NEW_KEYS[0])
    held = reader.take(issue(roots=(ROOT, second, third), after_ms=HOUR_MS))
    assert [row.payload.version for row in held.roots] == [1, 2, 3]


@pytest.mark.spec("DI-11")
def test_fast_forward(reader: Reader) -> None:
    """快进 fast-forward: stolen keys use all versions up → removing a key starts them anew."""
    reader.take(issue(2**53 - 1, says={"items": named(b"x", 2**53 - 1)}))
    assert reader.refuses(issue(2, after_ms=HOUR_MS), "a rollback") is Reason.DOCUMENT_INVALID
    kept = DIRECTORY_KEYS[1:]
    second = without_lost("directory", kept)
    fixed = issue(2, roots=(ROOT, second), signers=kept, after_ms=HOUR_MS)
    assert reader.take(fixed).payload.version == 2


@pytest.mark.spec("DI-8")
def test_fast_forward_of_freshness(reader: Reader) -> None:
    """时效快进 freshness of the future: a stolen key dates ahead → ignored until that day."""
    honest = issue()
    ahead = issue(after_ms=1000 * DAY_MS)[-1]
    assert reader.take([*honest, ahead]).freshness.payload.issued_ms == ISSUED_MS
    reason = reader.refuses([*honest[:-1], ahead], "our clock is behind")
    assert reason is Reason.CLOCK_SKEW


@pytest.mark.spec("DI-6", "DI-11")
def test_stolen_freshness_key(reader: Reader) -> None:
    """时效密钥被盗 stolen freshness key: it admits, revokes, revives nothing → ends with a root."""
    reader.take(issue(2, after_ms=HOUR_MS))
    thief = FRESHNESS_KEY
    assert reader.refuses(issue(3, signers=[thief], after_ms=2 * HOUR_MS), "1 signatures") is (
        Reason.DOCUMENT_SIGNATURE
    )
    assert reader.refuses(issue(1, after_ms=2 * HOUR_MS), "a rollback") is Reason.DOCUMENT_INVALID
    taken = revocation("42", RECEIPT_KEY, signer=thief)
    held = reader.take(issue(2, after_ms=2 * HOUR_MS, more=[taken]))
    assert held.records()[0].revoked_ms is None
    second = rotated(freshness=[NEW_KEYS[0]])
    files = issue(2, roots=(ROOT, second), after_ms=3 * HOUR_MS, fresh_by=NEW_KEYS[0])
    reader.take(files)
    theirs = issue(2, roots=(ROOT, second), after_ms=4 * HOUR_MS)
    assert reader.refuses(theirs, "none of the") is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-1", "DI-10", "DI-11")
def test_stolen_directory_key(reader: Reader) -> None:
    """一把目录密钥被盗 stolen key, one of n: it admits nobody; it can revoke → undone by a root."""
    reader.take(issue())
    thief = DIRECTORY_KEYS[0]
    admits = issue(2, signers=[thief], after_ms=HOUR_MS)
    assert reader.refuses(admits, "1 signatures") is Reason.DOCUMENT_SIGNATURE
    spite = revocation("42", RECEIPT_KEY, signer=thief)
    assert reader.take(issue(more=[spite])).records()[0].revoked_ms == ISSUED_MS
    kept = DIRECTORY_KEYS[1:]
    second = without_lost("directory", kept)
    files = issue(2, roots=(ROOT, second), signers=kept, more=[spite], after_ms=HOUR_MS)
    assert reader.take(files).records()[0].revoked_ms is None


# --- taking back


@pytest.mark.spec("DI-10")
def test_revocation_counts_at_once(reader: Reader) -> None:
    """及时吊销 a revocation no freshness names yet → counts wherever it arrives."""
    reader.take(issue())
    key = revocation("42", RECEIPT_KEY)
    assert reader.take(issue(more=[key])).records()[0].revoked_ms == ISSUED_MS
    listed = hubei().nodes[0].certificate_digest.hex()
    certificate = revocation("42", certificates=(listed,))
    held = reader.take(issue(more=[key, certificate]))
    assert held.struck() == {"420100"}
    assert reader.refuses(issue(more=[key]), f"certificate {listed[:16]}") is (
        Reason.DOCUMENT_INVALID
    )


@pytest.mark.spec("DI-10", "DI-11")
@pytest.mark.parametrize("how", ["dropped", "later", "listed again"])
def test_a_revocation_taken_back(reader: Reader, how: str) -> None:
    """撤销吊销 a revocation taken back: the key is to count again → refused."""
    taken = revocation("42", RECEIPT_KEY, issued_ms=ISSUED_MS + 5)
    reader.take(issue(more=[taken], says={"revocations": (digest_of(taken),)}))
    later = key_entry("receipt", KeyUse.RECEIPT, "420100", "420100", revoked_ms=ISSUED_MS + HOUR_MS)
    files = {
        "dropped": issue(after_ms=HOUR_MS),
        "later": issue(2, after_ms=HOUR_MS).copy(),
        "listed again": issue(3, after_ms=HOUR_MS),
    }
    if how == "later":
        payload = hubei(2).model_copy(update={"keys": (later,)})
        directory = sign(payload)
        says = {"issued_ms": ISSUED_MS + HOUR_MS, "expires_ms": ISSUED_MS + DAY_MS}
        fresh = sign_freshness(freshness_payload(payload, directory, **says))
        files["later"] = [ROOT, directory, fresh]
    assert reader.refuses(files[how], "comes back") is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-10")
def test_a_revocation_absorbed_by_the_next_directory(reader: Reader) -> None:
    """吊销并入目录 its statement goes when the next directory says it → the key stays revoked."""
    taken = revocation("42", RECEIPT_KEY)
    reader.take(issue(more=[taken]))
    row = key_entry("receipt", KeyUse.RECEIPT, "420100", "420100", revoked_ms=ISSUED_MS)
    payload = hubei(2).model_copy(update={"keys": (row,)})
    directory = sign(payload)
    says = {"issued_ms": ISSUED_MS + HOUR_MS, "expires_ms": ISSUED_MS + DAY_MS}
    fresh = sign_freshness(freshness_payload(payload, directory, **says))
    assert reader.take([ROOT, directory, fresh]).records()[0].revoked_ms == ISSUED_MS


@pytest.mark.spec("DI-7", "DI-10")
def test_a_revocation_withheld(reader: Reader) -> None:
    """扣留吊销 a revocation withheld, which freshness names → nothing is taken without it."""
    taken = revocation("42", RECEIPT_KEY)
    files = issue(says={"revocations": (digest_of(taken),)})
    assert reader.refuses(files, "revocation") is Reason.STALE_DIRECTORY


@pytest.mark.spec("DI-10")
def test_a_revocation_that_is_nobody_s(reader: Reader) -> None:
    """伪造吊销 a forged revocation beside the set → it takes nothing, and hinders nothing."""
    forged = revocation("42", RECEIPT_KEY, signer=make_key("stranger"))
    assert reader.take(issue(more=[forged])).records()[0].revoked_ms is None
    ahead = revocation("42", RECEIPT_KEY, issued_ms=ISSUED_MS - 1)
    assert reader.take(issue(more=[ahead])).records()[0].revoked_ms is None


# --- time


@pytest.mark.spec("DI-12")
def test_expired_and_in_grace(reader: Reader) -> None:
    """过期宽限 expired: known keys go on with an alarm → nothing new comes in, then all waits."""
    files = issue()
    held = reader.take(files)
    late_ms = ISSUED_MS + 2 * DAY_MS
    reader.restart()
    assert reader.take(files, late_ms) == held, "what was accepted before goes on"
    newer = issue(2, after_ms=HOUR_MS)
    assert reader.refuses(newer, "nothing new", late_ms) is Reason.STALE_DIRECTORY
    assert Reader(pin(ROOT)).refuses(files, "nothing new", late_ms) is Reason.STALE_DIRECTORY
    view = Directory.merge([held], GRACE_MS)
    assert view.trust_at(late_ms).key(RECEIPT_KEY.id, "420100") is not None
    with pytest.raises(UnavailableError) as caught:
        view.trust_at(late_ms + GRACE_MS).key(RECEIPT_KEY.id, "420100")
    assert caught.value.reason is Reason.STALE_DIRECTORY


@pytest.mark.spec("DI-12")
@pytest.mark.parametrize("document", ["root", "directory"])
def test_an_expired_document_under_a_fresh_statement(reader: Reader, document: str) -> None:
    """过期文件 an expired root or directory: freshness goes on vouching for it → it has expired."""
    changes: dict[str, Any] = {"expires_ms": ISSUED_MS + HOUR_MS}
    if document == "root":
        short = sign_root(root_payload("42", **changes))
        reader, files = Reader(pin(short)), issue(roots=(short,))
    else:
        files = issue(**changes)
    assert reader.refuses(files, "nothing new") is Reason.STALE_DIRECTORY


@pytest.mark.spec("DI-8", "DI-12")
def test_a_wrong_clock(reader: Reader) -> None:
    """时钟不准 a wrong clock: ahead it is as if expired → behind, nothing is decided."""
    reader.take(issue())
    behind_ms = ISSUED_MS + HOUR_MS - MAX_CLOCK_SKEW_MS - 1
    files = issue(2, after_ms=HOUR_MS)
    reason = reader.refuses(files, "our clock is behind", behind_ms)
    assert reason is Reason.CLOCK_SKEW
    assert reader.take(files, behind_ms + 1).payload.version == 2


@pytest.mark.spec("DI-5")
def test_another_first_root(reader: Reader) -> None:
    """冒充首个根 another first root: same version, other digest than pinned → not taken."""
    other = sign_root(root_payload("42", name="另一内容"))
    assert reader.refuses(issue(roots=(other,)), "pinned root of 42") is Reason.STALE_DIRECTORY
    far = root_payload("42", version=5)
    lied = Reader(pin(sign_root(far), version=1))
    reason = lied.refuses(issue(roots=(sign_root(far),)), "pinned root: version 5")
    assert reason is Reason.DOCUMENT_INVALID


@pytest.mark.spec("DI-5")
def test_a_root_that_does_not_fit() -> None:
    """根与密钥不符 a root whose roles and keys do not fit → refused before anything is believed."""
    strange: list[tuple[RootPayload, str]] = [
        (root_payload("42", expires_ms=ISSUED_MS), "expires_ms"),
        (root_payload("42", keys=_misnamed()), "is not the digest of the key"),
        (root_payload("42", root=ROOT_KEYS[:1]), "root.threshold"),
        (root_payload("42", keys=root_payload("42").keys[1:]), "but not both"),
        (
            root_payload("42", keys=(*root_payload("42").keys, root_payload("42").keys[0])),
            "2 times",
        ),
    ]
    for payload, words in strange:
        octets = sign_document(ROOT_TYPE, write_payload(payload), ROOT_KEYS[:2])
        reason = Reader(pin(octets)).refuses(issue(roots=(octets,)), words)
        assert reason is Reason.DOCUMENT_INVALID


def _misnamed() -> tuple[RoleKey, ...]:
    """The keys, one of them with another's octets under its id."""
    first, second, *rest = root_payload("42").keys
    return (first.model_copy(update={"spki": second.spki}), second, *rest)
