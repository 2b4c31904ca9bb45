"""The evidence file: what it proves, and every way of making it prove something else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from protocol.envelope import Sender
from protocol.errors import RefusedError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_PIECE_OCTETS
from protocol.reasons import Reason
from protocol.receipt import ReceiptType, read_receipt
from routing.directory_roles import TrustAnchor
from signing import evidence_file
from signing.erasure import Erasure, Ground, Order
from signing.evidence import (
    MAGIC,
    SEAL_DOMAIN,
    MessageToShow,
    Outcome,
    Subject,
    verify_evidence,
)
from signing.keys import KeyUse
from signing.receipts import draft_receipt, sign_receipt
from signing.suites import Suite, digest
from tests.evidence_files import (
    ANCHOR,
    EXPORTED_MS,
    FOREIGN,
    PARTS,
    Piece,
    about,
    case_file,
    check,
    directories,
    evidence,
    failing_step,
    joined,
    keys,
    message,
    message_file,
    pieces,
    sealed_anew,
    story,
)
from tests.messages import (
    BODY,
    CASE_ID,
    DAY_MS,
    HUB,
    NOW_MS,
    SCAN,
    WUHAN,
    XIANGYANG,
    YEAR_MS,
    Keys,
    authority_of,
    keys_of,
    message_id,
    receipt_for,
    rules,
    verified,
)
from tests.unit.routing.provinces import (
    directory_keys,
    files_of,
    named,
    pin,
    province,
    root_payload,
    sign,
    sign_root,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.envelope import Environment
    from signing.evidence import Report
    from signing.trust import TrustSet

KEYS = keys()
FILE = case_file()
ONE = message_file()
ABOUT, DIRECTORY, ENVELOPE, PART, RECEIPT, SEAL, ERASURE = 1, 2, 3, 4, 5, 9, 10


def detail(octets: bytes) -> str:
    return check(octets).steps[-1].detail


def registered(use: KeyUse, owner: str, **changes: Any) -> Keys:
    """The same keys, one of them registered otherwise."""
    records = [
        replace(record, **changes) if (record.use, record.owner) == (use, owner) else record
        for record in KEYS.records
    ]
    return Keys(records, KEYS.secrets)


def edited(kind: int, index: int, octets: bytes) -> list[Piece]:
    """The records of the file, with one of this type replaced."""
    records = pieces(FILE)
    places = [place for place, record in enumerate(records) if record.kind == kind]
    records[places[index]] = Piece(kind, octets)
    return records


def lone(one: MessageToShow, held: Keys = KEYS, **changes: Any) -> bytes:
    """A file about one message."""
    return evidence(held, [one], subject=Subject.MESSAGE, subject_id=message_id(1), **changes)


# What it proves


@pytest.mark.spec("EV-9")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_case_is_proven_step_by_step(suite: Suite) -> None:
    report = check(case_file(suite))
    assert report.outcome is Outcome.VALID
    assert report.about == about()
    assert [(step.number, step.name, step.passed) for step in report.steps] == [
        (1, "container", True),
        (2, "about", True),
        (3, "directories", True),
        (4, "log", True),
        (5, "envelopes", True),
        (6, "parts", True),
        (7, "receipts", True),
        (8, "subject", True),
        (9, "seal", True),
    ]
    assert all(step.chinese for step in report.steps)


def test_what_was_proven_is_named() -> None:
    submitted, confirmed, refused = check(FILE).proven
    assert (submitted.kind, submitted.sequence, submitted.custody) == ("case.submit", 1, (HUB,))
    assert submitted.sender == authority_of(WUHAN)
    assert submitted.recipient == authority_of(XIANGYANG)
    assert (submitted.outcome, submitted.received_ms) == (ReceiptType.RECEIVED, NOW_MS)
    assert submitted.missing == ()
    assert (confirmed.kind, confirmed.sender) == ("case.received", authority_of(XIANGYANG))
    assert (refused.outcome, refused.reason) == (ReceiptType.REFUSED, Reason.WRONG_STATE)


@pytest.mark.spec("EV-5")
def test_an_erased_part_is_reported_and_the_hand_over_stays_proven() -> None:
    for held, erased in [({}, ("body", "m1")), ({"m1": SCAN}, ("body",))]:
        report = check(lone(message(KEYS, parts=held)))
        assert report.outcome is Outcome.VALID
        assert report.proven[0].missing == erased


# The form


@pytest.mark.spec("EV-10", "EV-11", "EV-12")
def test_the_file_octet_for_octet() -> None:
    records = pieces(ONE)
    assert joined(records) == ONE
    assert MAGIC == b"TBEV1\n"
    assert [record.kind for record in records] == [1, 2, 2, 2, 3, 4, 4, 5, 5, 9]
    assert records[0].octets.decode() == (
        '{"environment":"trial","exported":"2026-12-02T03:00:00.000Z",'
        '"format":"tongban-evidence-1","node":"420100","subject":"message",'
        f'"subjectId":"{message_id(1)}"}}'
    )
    assert [row.octets for row in records[1:4]] == directories(KEYS)
    assert records[6].octets == b"\x02m1" + SCAN
    assert read_receipt(records[7].octets).receipt.issuer == HUB
    seal = records[9].octets
    key = KEYS.public(KEYS.find(KeyUse.EVIDENCE, WUHAN))
    assert seal[:32] == digest(Suite.P256, key.spki)
    covered = SEAL_DOMAIN + digest(Suite.P256, joined(records[:-1]))
    assert SEAL_DOMAIN == b"TONGBAN-EVIDENCE-1\0"
    assert key.verify(covered, seal[32:])


# 1 container


@pytest.mark.spec("EV-1")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        MAGIC,
        MAGIC[:-1],
        b"PK\x03\x04",
        MAGIC + bytes(5),
        MAGIC + b"\xff" * 9,
        MAGIC + b"\1\0\0\0\0",
        MAGIC + b"\1\xff\xff\xff\xff{}",
        MAGIC + b"\1\0\0\0\x02{}" + b"\x09\0\0\0\x60" + bytes(96),
        MAGIC.lower() + FILE[6:],
    ],
)
def test_1_rubbish(octets: bytes) -> None:
    assert failing_step(octets) == "container"


@pytest.mark.spec("EV-1")
def test_1_cut_anywhere() -> None:
    for length in range(len(ONE)):
        assert failing_step(ONE[:length]) == "container"


@pytest.mark.spec("EV-1")
@pytest.mark.parametrize("extra", [b"\0", b"\n", MAGIC, ONE, pieces(ONE)[-1].octets])
def test_1_continued(extra: bytes) -> None:
    assert failing_step(ONE + extra) == "container"


@pytest.mark.spec("EV-1")
def test_1_two_files_in_one() -> None:
    assert failing_step(FILE + ONE[len(MAGIC) :]) == "container"
    assert failing_step(joined([*pieces(FILE)[:-1], *pieces(ONE)])) == "container"


@pytest.mark.spec("EV-1", "EV-10")
@pytest.mark.parametrize(
    "order",
    [
        [ABOUT, ENVELOPE, RECEIPT, SEAL],
        [DIRECTORY, ABOUT, ENVELOPE, RECEIPT, SEAL],
        [ABOUT, ABOUT, DIRECTORY, ENVELOPE, RECEIPT, SEAL],
        [ABOUT, DIRECTORY, SEAL],
        [ABOUT, DIRECTORY, RECEIPT, SEAL],
        [ABOUT, DIRECTORY, PART, RECEIPT, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, ENVELOPE, RECEIPT, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, RECEIPT, PART, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, RECEIPT, DIRECTORY, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, RECEIPT],
        [ABOUT, DIRECTORY, ENVELOPE, RECEIPT, SEAL, SEAL],
        [ABOUT, DIRECTORY, ENVELOPE, RECEIPT, 6, SEAL],
    ],
)
def test_1_records_in_another_order(order: list[int]) -> None:
    first = {record.kind: record for record in reversed(pieces(ONE))}
    first[6] = Piece(6, b"")
    assert failing_step(joined([first[kind] for kind in order])) == "container"


@pytest.mark.spec("EV-1", "EV-10")
@pytest.mark.parametrize("octets", [b"", b"\0", b"\3m1", b"\2m\xff", bytes([255]) + b"m" * 254])
def test_1_a_part_without_a_name(octets: bytes) -> None:
    assert failing_step(joined(edited(PART, 0, octets))) == "container"


@pytest.mark.spec("EV-1", "EV-31")
@pytest.mark.parametrize("more", [b"\4body", b"\4body" + BODY, b"\2m1", b"\2m1" + SCAN])
def test_1_a_part_that_ended_or_goes_on_with_nothing(more: bytes) -> None:
    held = pieces(ONE)
    last = max(place for place, record in enumerate(held) if record.kind == PART)
    octets = sealed_anew([*held[: last + 1], Piece(PART, more), *held[last + 1 :]], KEYS)
    # As a piece it would be well formed: the part is then another.
    assert failing_step(octets) == ("parts" if more == b"\2m1" + SCAN else "container")


@pytest.mark.spec("EV-31")
def test_a_part_in_pieces_is_one_part() -> None:
    held = []
    for record in pieces(ONE):
        name, octets = record.octets[:3], record.octets[3:]
        if record.kind == PART and name == b"\2m1":
            held += [Piece(PART, name + octets[:4]), Piece(PART, name + octets[4:])]
        else:
            held.append(record)
    report = check(sealed_anew(held, KEYS))
    assert report.outcome is Outcome.VALID
    assert report.proven[0].missing == ()


@pytest.mark.spec("EV-31")
def test_1_a_piece_that_is_too_long() -> None:
    octets = b"\2m1" + bytes(MAX_PIECE_OCTETS + 31)
    assert failing_step(joined(edited(PART, 0, octets))) == "container"


@pytest.mark.spec("EV-32")
def test_1_more_than_a_reader_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    held = sum(len(record.octets) for record in pieces(ONE) if record.kind != PART)
    monkeypatch.setattr(evidence_file, "MAX_HELD_OCTETS", held - 1)
    assert failing_step(ONE) == "container"
    monkeypatch.setattr(evidence_file, "MAX_HELD_OCTETS", held)
    assert check(ONE).outcome is Outcome.VALID


# Erasure


def erased(**changes: Any) -> bytes:
    """The message's file with the record of an erasure in the place of its parts."""
    one = message(KEYS, parts={})
    stated = verified(one.envelope, KEYS).message_digest
    values: dict[str, Any] = {
        "ground": Ground.CONSENT,
        "authority": authority_of(WUHAN),
        "erased_ms": NOW_MS,
        "message_digest": stated,
        "order_digest": bytes(32),
    }
    return lone(replace(one, erasure=Erasure(**values | changes).octets))


@pytest.mark.spec("EV-28", "EV-30")
def test_what_was_erased_is_told_from_what_was_left_out() -> None:
    report = check(erased())
    assert report.outcome is Outcome.VALID
    (one,) = report.proven
    assert one.missing == ("body", "m1")
    assert one.erasure is not None
    assert (one.erasure.ground, one.erasure.erased_ms) == (Ground.CONSENT, NOW_MS)
    assert report.steps[5].detail == "1 messages checked; parts: 0 there, 2 erased"
    report = check(lone(message(KEYS, parts={"m1": SCAN})))
    assert report.proven[0].erasure is None
    assert report.steps[5].detail == "1 messages checked; parts: 1 there, 1 left out"


@pytest.mark.spec("EV-29")
def test_6_the_erasure_of_another_message() -> None:
    assert failing_step(erased(message_digest=bytes(32))) == "parts"


@pytest.mark.spec("EV-29")
@pytest.mark.parametrize(
    ("place", "octets"),
    [(0, b"X"), (4, b"\0"), (4, b"\6"), (22, b"?"), (22, b"\xff"), (94, b"")],
    ids=["magic", "ground 0", "ground 6", "authority", "not ASCII", "short"],
)
def test_6_an_erasure_in_another_layout(place: int, octets: bytes) -> None:
    held = pieces(erased())
    (record,) = (record.octets for record in held if record.kind == ERASURE)
    record = record[:place] + octets + record[place + 1 :]
    changed = [Piece(ERASURE, record) if one.kind == ERASURE else one for one in held]
    assert failing_step(sealed_anew(changed, KEYS)) == "parts"


@pytest.mark.spec("EV-28", "EV-10")
def test_1_an_erasure_beside_parts() -> None:
    held = pieces(erased())
    place = next(place for place, record in enumerate(held) if record.kind == ERASURE)
    part = Piece(PART, b"\2m1" + SCAN)
    for one in ([part, held[place]], [held[place], part], [held[place]] * 2):
        octets = sealed_anew([*held[:place], *one, *held[place + 1 :]], KEYS)
        assert failing_step(octets) == "container"


def test_an_order_commits_to_who_and_why_without_showing_it() -> None:
    order = Order(authority_of(WUHAN), "李强", "420100-17", Ground.RETENTION, "期满")
    salt = bytes(range(16))
    digests = {
        order.digest(salt),
        order.digest(bytes(16)),
        replace(order, name="李强4").digest(salt),
        replace(order, name="李强4", staff_number="20100-17").digest(salt),
        replace(order, note="").digest(salt),
    }
    assert len(digests) == 5


@pytest.mark.spec("EV-1")
@pytest.mark.parametrize("seal", [b"", bytes(95), bytes(97)])
def test_1_a_seal_of_another_length(seal: bytes) -> None:
    assert failing_step(joined(edited(SEAL, 0, seal))) == "container"


@pytest.mark.spec("EV-1")
@pytest.mark.parametrize(
    ("kind", "octets"), [(ABOUT, 5000), (ENVELOPE, 65537), (RECEIPT, 811), (SEAL, 97)]
)
def test_1_a_record_over_its_bound(kind: int, octets: int) -> None:
    assert failing_step(joined(edited(kind, 0, bytes(octets)))) == "container"


# 2 about


def described(**changes: object) -> bytes:
    """The file, its description edited and the seal made to fit: a lying exporter."""
    tree = json.loads(pieces(FILE)[0].octets) | changes
    octets = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    return sealed_anew(edited(ABOUT, 0, octets), KEYS)


@pytest.mark.spec("EV-2", "EV-11")
@pytest.mark.parametrize(
    "changes",
    [
        {"environment": "test"},
        {"environment": None},
        {"exported": "2026-12-02T03:00:00Z"},
        {"exported": 1},
        {"format": "tongban-evidence-2"},
        {"node": "42010"},
        {"node": 420100},
        {"node": ["420100"]},
        {"subject": "person"},
        {"subject": ["case"]},
        {"subjectId": CASE_ID.upper()},
        {"subjectId": 5},
        {"subjectId": None},
        {"subjectId": "\ud800"},
        {"subjectId": "\x1b[2J"},
        {"more": 1},
    ],
)
def test_2_a_description_in_another_form(changes: dict[str, object]) -> None:
    assert failing_step(described(**changes)) == "about"


@pytest.mark.spec("EV-2")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b"[" * 4000,
        b'{"environment":' * 200,
        b"9" * 4096,
        b" " + pieces(FILE)[0].octets,
        pieces(FILE)[0].octets.replace(b'"trial"', b'"tria\\u006c"'),
        pieces(FILE)[0].octets.replace(b"{", b'{"environment":"trial",'),
    ],
)
def test_2_a_description_that_is_none(octets: bytes) -> None:
    assert failing_step(sealed_anew(edited(ABOUT, 0, octets), KEYS)) == "about"


# 3 directories


@pytest.mark.spec("EV-3", "EV-13")
def test_3_a_foreign_anchor() -> None:
    assert failing_step(FILE, FOREIGN) == "directories"
    # One that speaks of the province, and pins another root than the file brings along.
    other = TrustAnchor(anchors=(pin(sign_root(root_payload("42", name="另一内容"))),))
    assert failing_step(FILE, other) == "directories"


@pytest.mark.spec("EV-3")
def test_3_a_directory_somebody_else_signed() -> None:
    payload = province("43", []).model_copy(update={"prefix": "42"})
    forged = sign(payload, *directory_keys("43"))
    first, _, fresh = files_of(payload, directory=named(forged))
    assert failing_step(evidence(KEYS, documents=[first, forged, fresh])) == "directories"


@pytest.mark.spec("EV-3")
def test_3_a_directory_twice_or_rubbish() -> None:
    own = directories(KEYS)
    assert failing_step(evidence(KEYS, documents=[*own, own[1]])) == "directories"
    assert failing_step(evidence(KEYS, documents=own[:2])) == "directories"
    assert failing_step(evidence(KEYS, documents=[*own, b"\x1b[31m{}"])) == "directories"


@pytest.mark.spec("EN-3", "EV-3")
def test_3_trial_keys_prove_nothing_in_production() -> None:
    documents = directories(KEYS, environment="production")
    assert failing_step(evidence(KEYS, documents=documents)) == "directories"
    assert failing_step(evidence(KEYS, environment="production")) == "directories"


@pytest.mark.spec("EV-15", "TR-5")
def test_3_what_cannot_be_computed_here_is_neither_passed_nor_refused() -> None:
    def open_trust(documents: Sequence[bytes], environment: Environment) -> TrustSet:
        assert (documents, environment) == (tuple(directories(KEYS)), "trial")
        raise UnavailableError(Reason.SUITE_UNAVAILABLE, "no SM2 on this machine")

    report = verify_evidence(FILE, open_trust, rules())
    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert report.steps[-1].name == "directories"
    assert not report.steps[-1].passed
    assert "SM2" in report.steps[-1].detail
    assert report.proven == ()


# 4 envelopes


@pytest.mark.spec("EV-4")
def test_4_a_key_the_files_directories_do_not_know() -> None:
    strangers = keys_of([HUB, WUHAN, XIANGYANG])
    fewer = Keys([r for r in KEYS.records if r.use is not KeyUse.ENVELOPE], KEYS.secrets)
    octets = evidence(strangers, documents=directories(fewer))
    assert failing_step(octets) == "envelopes"
    assert "key-unknown" in detail(octets)


@pytest.mark.spec("EV-4")
def test_4_an_envelope_changed_or_of_another_environment() -> None:
    octets = pieces(FILE)[2].octets
    for old, new in [(b'sequence="1"', b'sequence="2"'), (b"trial", b"production")]:
        changed = sealed_anew(edited(ENVELOPE, 0, octets.replace(old, new)), KEYS)
        assert failing_step(changed) == "envelopes"


def with_sender_key(messages: list[MessageToShow], **changes: Any) -> Report:
    """The report on these messages, the key of their sender registered otherwise."""
    held = registered(KeyUse.ENVELOPE, authority_of(WUHAN), **changes)
    return check(evidence(KEYS, messages, documents=directories(held)))


@pytest.mark.spec("EV-14", "SG-17")
def test_4_a_revoked_key_counts_for_what_another_node_saw_before() -> None:
    seen = [message(KEYS, received_ms=NOW_MS + DAY_MS)]
    assert with_sender_key(seen, revoked_ms=NOW_MS + DAY_MS + 1).outcome is Outcome.VALID
    late = with_sender_key(seen, revoked_ms=NOW_MS + DAY_MS)
    assert late.steps[-1].name == "envelopes"
    assert "key-revoked" in late.steps[-1].detail
    # A forwarder's custody is a witness too.
    assert (
        with_sender_key(
            [message(KEYS, custody=[HUB], received_ms=NOW_MS + DAY_MS)], revoked_ms=NOW_MS + 1
        ).outcome
        is Outcome.VALID
    )


@pytest.mark.spec("EV-14", "SG-16")
def test_4_the_senders_own_node_is_no_witness_against_its_own_revocation() -> None:
    local = [message(KEYS, to_node=WUHAN)]
    assert with_sender_key(local).outcome is Outcome.VALID
    # Receipt, seal and instants are all by the node that sent it: it could have dated them back.
    for revoked_ms in (NOW_MS + 1, EXPORTED_MS + DAY_MS):
        late = with_sender_key(local, revoked_ms=revoked_ms)
        assert late.outcome is Outcome.REFUSED
        assert late.steps[-1].name == "envelopes"


@pytest.mark.spec("EV-14", "SG-17")
def test_4_a_key_that_merely_expired_still_proves_what_was_received_before() -> None:
    for to_node in (WUHAN, XIANGYANG):
        old = [message(KEYS, to_node=to_node)]
        assert with_sender_key(old, not_after_ms=NOW_MS + 1).outcome is Outcome.VALID
        assert with_sender_key(old, not_after_ms=NOW_MS).outcome is Outcome.REFUSED


@pytest.mark.spec("EV-14")
def test_4_what_the_senders_own_node_says_earlier_does_not_count() -> None:
    one = message(KEYS, received_ms=NOW_MS + 2 * DAY_MS)
    own = receipt_for(verified(one.envelope, KEYS), KEYS, WUHAN, ReceiptType.CUSTODY)
    backdated = [replace(one, receipts=[own, *one.receipts])]
    assert with_sender_key(backdated).outcome is Outcome.VALID
    assert with_sender_key(backdated, revoked_ms=NOW_MS + DAY_MS).outcome is Outcome.REFUSED


@pytest.mark.spec("EV-14")
def test_4_a_receipt_that_does_not_verify_is_no_witness() -> None:
    one = message(KEYS, received_ms=NOW_MS + DAY_MS)
    receipt = bytearray(one.receipts[0])
    receipt[112:120] = NOW_MS.to_bytes(8)
    forged = replace(one, receipts=[bytes(receipt)])
    assert with_sender_key([forged], revoked_ms=NOW_MS + DAY_MS).steps[-1].name == "envelopes"


@pytest.mark.spec("EV-15")
def test_4_a_witness_this_machine_cannot_check_is_no_refusal() -> None:
    class Broken:
        def verify(self, *_: bytes) -> bool:
            raise UnavailableError(Reason.SUITE_UNAVAILABLE, "the library failed")

    held = registered(
        KeyUse.RECEIPT,
        XIANGYANG,
        key=replace(KEYS.public(KEYS.find(KeyUse.RECEIPT, XIANGYANG)), _verifier=Broken()),
    )
    report = verify_evidence(FILE, lambda *_: held.trust(), rules())
    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert report.steps[-1].name == "envelopes"


# 5 parts


@pytest.mark.spec("EV-5")
def test_5_a_part_that_is_another_or_not_listed() -> None:
    for parts in (
        {**PARTS, "m1": SCAN[::-1]},
        {**PARTS, "m1": SCAN + b"\0"},
        {**PARTS, "m2": b""},
        {"m1": PARTS["body"], "body": PARTS["m1"]},
    ):
        assert failing_step(lone(message(KEYS, parts=parts))) == "parts"


def test_5_a_name_cannot_speak_to_the_terminal() -> None:
    octets = lone(message(KEYS, parts={"\x1b[2J": b""}))
    assert failing_step(octets) == "parts"
    assert "\x1b" not in detail(octets)


# 6 receipts


@pytest.mark.spec("EV-6")
def test_6_a_message_nobody_answered_for() -> None:
    one = message(KEYS, custody=[HUB])
    assert failing_step(lone(replace(one, receipts=one.receipts[:1]))) == "receipts"


@pytest.mark.spec("EV-6")
def test_6_a_receipt_of_somebody_else_ends_nothing() -> None:
    one = message(KEYS)
    checked = verified(one.envelope, KEYS)
    for issuer in (HUB, WUHAN):
        stranger = receipt_for(checked, KEYS, issuer)
        assert failing_step(lone(replace(one, receipts=[stranger]))) == "receipts"
        assert failing_step(lone(replace(one, receipts=[*one.receipts, stranger]))) == "receipts"


@pytest.mark.spec("EV-6")
def test_6_two_ends_and_custody_of_the_destination() -> None:
    one = message(KEYS)
    checked = verified(one.envelope, KEYS)
    refusal = RefusedError(Reason.EXPIRED, "")
    other = receipt_for(checked, KEYS, XIANGYANG, ReceiptType.REFUSED, refusal=refusal)
    custody = receipt_for(checked, KEYS, XIANGYANG, ReceiptType.CUSTODY)
    for receipts in (
        [*one.receipts, other],
        [*one.receipts, *one.receipts],
        [custody, *one.receipts],
    ):
        assert failing_step(lone(replace(one, receipts=receipts))) == "receipts"


@pytest.mark.spec("EV-6")
def test_6_a_receipt_for_another_message() -> None:
    one, other = message(KEYS), message(KEYS, number=2)
    assert failing_step(lone(replace(one, receipts=other.receipts))) == "receipts"


@pytest.mark.spec("EV-6")
def test_6_a_forged_receipt() -> None:
    one = message(KEYS)
    changed = one.receipts[0][:-1] + bytes([one.receipts[0][-1] ^ 1])
    assert failing_step(lone(replace(one, receipts=[changed]))) == "receipts"


def test_6_a_receipt_key_the_files_directories_do_not_know() -> None:
    fewer = Keys([r for r in KEYS.records if r.use is not KeyUse.RECEIPT], KEYS.secrets)
    octets = evidence(KEYS, documents=directories(fewer))
    assert failing_step(octets) == "receipts"
    assert "key-unknown" in detail(octets)


def test_6_a_refusal_of_the_octets_counts_when_it_is_the_destinations() -> None:
    # It could not authenticate them, so it named nothing but the octets (RC-4).
    one = message(KEYS)
    refusal = RefusedError(Reason.KEY_REVOKED, "")

    def nameless(issuer: str, octets: bytes) -> bytes:
        key = KEYS.public(KEYS.find(KeyUse.RECEIPT, issuer))
        draft = draft_receipt(ReceiptType.REFUSED, issuer, key, octets, NOW_MS, refusal=refusal)
        return sign_receipt(draft, KEYS)

    report = check(lone(replace(one, receipts=[nameless(XIANGYANG, one.envelope)])))
    assert report.outcome is Outcome.VALID
    assert report.proven[0].reason is Reason.KEY_REVOKED
    for receipt in (nameless(HUB, one.envelope), nameless(XIANGYANG, one.envelope + b" ")):
        assert failing_step(lone(replace(one, receipts=[receipt]))) == "receipts"


# 7 subject


@pytest.mark.spec("EV-7")
def test_7_a_message_of_another_case_or_of_none() -> None:
    whole = story(KEYS)
    assert failing_step(evidence(KEYS, whole, subject_id=message_id(77))) == "subject"
    owner = authority_of(WUHAN)
    sender = Sender(WUHAN, owner, KEYS.find(KeyUse.PING, owner))
    ping = message(KEYS, number=9, case=None, kind="ping", sender=sender)
    assert check(evidence(KEYS, [ping], subject=Subject.MESSAGE, subject_id=message_id(9))).proven
    assert failing_step(evidence(KEYS, [*whole, ping])) == "subject"


@pytest.mark.spec("EV-7")
def test_7_another_message_than_the_subject_or_more_than_it() -> None:
    one, other = message(KEYS), message(KEYS, number=2)
    as_message: dict[str, Any] = {"subject": Subject.MESSAGE, "subject_id": message_id(1)}
    assert failing_step(evidence(KEYS, [other], **as_message)) == "subject"
    assert failing_step(evidence(KEYS, [one, other], **as_message)) == "subject"
    assert failing_step(evidence(KEYS, [one, one], **as_message)) == "subject"
    namesake = message(KEYS, from_node=XIANGYANG, to_node=WUHAN)
    assert failing_step(evidence(KEYS, [one, namesake], **as_message)) == "subject"


@pytest.mark.spec("EV-7")
@pytest.mark.parametrize("left_out", [0, 2])
def test_7_a_number_left_out(left_out: int) -> None:
    whole = [message(KEYS, number=n, sequence=n) for n in (1, 2, 3, 4)]
    assert check(evidence(KEYS, whole)).outcome is Outcome.VALID
    del whole[left_out]
    octets = evidence(KEYS, whole)
    assert failing_step(octets) == "subject"
    assert authority_of(WUHAN) in detail(octets)


@pytest.mark.spec("EV-7")
def test_7_a_message_twice_or_a_number_twice() -> None:
    whole = story(KEYS)
    assert failing_step(evidence(KEYS, [*whole, whole[0]])) == "subject"
    again = message(KEYS, number=8, sequence=1)
    assert failing_step(evidence(KEYS, [*whole, again])) == "subject"
    renumbered = message(KEYS, number=3, sequence=3)
    assert failing_step(evidence(KEYS, [*whole, renumbered])) == "subject"


def test_7_two_authorities_may_have_chosen_one_message_id() -> None:
    # Else either end could spoil the evidence of the other by repeating its id.
    whole = story(KEYS)
    whole[1] = message(KEYS, number=1, from_node=XIANGYANG, to_node=WUHAN, kind="case.received")
    assert check(evidence(KEYS, whole)).outcome is Outcome.VALID


# 8 seal


@pytest.mark.spec("EV-8")
def test_8_a_part_taken_out() -> None:
    kept = [record for record in pieces(ONE) if record.kind != PART]
    assert failing_step(joined(kept)) == "seal"
    assert check(sealed_anew(kept, KEYS)).outcome is Outcome.VALID


@pytest.mark.spec("EV-8")
def test_8_a_message_taken_out() -> None:
    records = pieces(FILE)
    last = max(place for place, record in enumerate(records) if record.kind == ENVELOPE)
    assert failing_step(joined([*records[:last], records[-1]])) == "seal"


@pytest.mark.spec("EV-8")
def test_8_messages_in_another_order() -> None:
    first, second, third = story(KEYS)
    other = pieces(evidence(KEYS, [second, first, third]))
    assert failing_step(joined([*other[:-1], pieces(FILE)[-1]])) == "seal"


@pytest.mark.spec("EV-8")
def test_8_the_seal_of_another_export_of_the_same_case() -> None:
    later = evidence(KEYS, exported_ms=EXPORTED_MS + 1)
    assert failing_step(joined([*pieces(FILE)[:-1], pieces(later)[-1]])) == "seal"
    spliced = [pieces(later)[0], *pieces(FILE)[1:]]
    assert failing_step(joined(spliced)) == "seal"


@pytest.mark.spec("EV-8")
@pytest.mark.parametrize("use", [KeyUse.ENVELOPE, KeyUse.RECEIPT, KeyUse.PING])
def test_8_only_an_evidence_key_seals(use: KeyUse) -> None:
    owner = WUHAN if use is KeyUse.RECEIPT else authority_of(WUHAN)
    other = KEYS.find(use, owner)
    held = Keys(
        [
            replace(r, use=KeyUse.EVIDENCE, owner=WUHAN)
            for r in KEYS.records
            if r.key.key_id == other
        ],
        KEYS.secrets,
    )
    octets = sealed_anew(pieces(FILE), held)
    assert failing_step(octets) == "seal"
    assert other in detail(octets)


def test_8_a_key_nobody_registered() -> None:
    fewer = Keys([r for r in KEYS.records if r.use is not KeyUse.EVIDENCE], KEYS.secrets)
    octets = evidence(KEYS, documents=directories(fewer))
    assert failing_step(octets) == "seal"


@pytest.mark.spec("EV-8")
def test_8_only_the_exporting_node_seals() -> None:
    assert failing_step(sealed_anew(pieces(FILE), KEYS, XIANGYANG)) == "seal"


@pytest.mark.spec("EV-8")
@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"revoked_ms": EXPORTED_MS + 1}, Outcome.VALID),
        ({"revoked_ms": EXPORTED_MS}, Outcome.REFUSED),
        ({"not_after_ms": EXPORTED_MS + 1}, Outcome.VALID),
        ({"not_after_ms": EXPORTED_MS}, Outcome.REFUSED),
        ({"not_before_ms": EXPORTED_MS + MAX_CLOCK_SKEW_MS}, Outcome.VALID),
        ({"not_before_ms": EXPORTED_MS + MAX_CLOCK_SKEW_MS + 1}, Outcome.REFUSED),
    ],
)
def test_8_the_key_was_valid_when_the_file_was_exported(
    changes: dict[str, int], outcome: Outcome
) -> None:
    held = registered(KeyUse.EVIDENCE, WUHAN, **changes)
    assert check(evidence(KEYS, documents=directories(held))).outcome is outcome


@pytest.mark.spec("EV-8")
def test_8_years_later_the_file_still_verifies() -> None:
    # No clock is asked: keys expired and the directory too, and the file proves what it proved.
    late = registered(KeyUse.ENVELOPE, authority_of(WUHAN), not_after_ms=NOW_MS + DAY_MS)
    octets = evidence(KEYS, documents=directories(late, expires_ms=NOW_MS - YEAR_MS))
    assert check(octets, ANCHOR).outcome is Outcome.VALID
