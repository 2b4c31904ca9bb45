from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from protocol.envelope import CLOSING_TAG, Address, Sender, read_envelope, write_content
from protocol.errors import RefusedError, TongbanError, UnavailableError
from protocol.limits import MAX_CLOCK_SKEW_MS
from protocol.proof import Batched, read_proof, write_proof
from protocol.reasons import Reason
from signing.batch import Checking, ProofRequest, sign_group
from signing.keys import KeyUse
from signing.profile import DS, attach, envelope_request, signed_info
from signing.suites import Suite, digest
from signing.trust import TrustSet
from signing.verify import check_part, verify_envelope
from tests.messages import (
    BODY,
    DAY_MS,
    HUB,
    NOW_MS,
    SCAN,
    WUHAN,
    XIANGYANG,
    YEAR_MS,
    Keys,
    authority_of,
    envelope,
    keys_of,
    make_key,
    message_id,
    rules,
    sign_content,
    sign_envelope,
    signed_by_sender,
    signed_together,
    verified,
)

NODES = (HUB, WUHAN, XIANGYANG)
KEYS = keys_of(NODES)
MESSAGE = envelope(KEYS)
OCTETS = signed_by_sender(MESSAGE, KEYS)
SENDER = MESSAGE.header.sender


def failure(
    octets: bytes = OCTETS, keys: Keys = KEYS, now_ms: int = NOW_MS, *, live: bool = True
) -> TongbanError:
    with pytest.raises(TongbanError) as caught:
        verify_envelope(octets, rules(), keys.trust(), now_ms, live=live)
    return caught.value


def refused(reason: Reason, octets: bytes = OCTETS, keys: Keys = KEYS) -> str:
    caught = failure(octets, keys)
    assert isinstance(caught, RefusedError)
    assert caught.reason is reason
    return caught.detail


def registered(**changes: Any) -> Keys:
    """The same keys, with the sender's registered otherwise."""
    records = [
        replace(record, **changes) if record.key.key_id == SENDER.key else record
        for record in KEYS.records
    ]
    return Keys(records, KEYS.secrets)


def unsigned(content: bytes) -> bytes:
    """The content with an empty Signature, as the schema wants one."""
    return content.replace(CLOSING_TAG, f'<ds:Signature xmlns:ds="{DS}"/>'.encode() + CLOSING_TAG)


def signed_with(use: KeyUse, node: str) -> bytes:
    """The message under that key of the sender's node, or another's, named in the header."""
    owner = node if use is KeyUse.RECEIPT else authority_of(node)
    key_id = KEYS.find(use, owner)
    sender = replace(SENDER, key=key_id)
    message = replace(MESSAGE, header=replace(MESSAGE.header, sender=sender))
    return sign_envelope(message, KEYS.secrets[key_id])


@pytest.mark.spec("SG-11")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_good_envelope_is_handed_out_as_verified(suite: Suite) -> None:
    keys = keys_of(NODES, suite)
    message = envelope(keys, suite)
    octets = signed_by_sender(message, keys)
    result = verified(octets, keys)
    assert result.envelope == message
    assert result.octets == octets
    assert result.suite is suite
    assert result.key.owner == authority_of(WUHAN)


@pytest.mark.spec("SG-13")
def test_identity_is_the_content_whatever_the_signature() -> None:
    keys = keys_of(NODES, Suite.SM2_SM3)
    message = envelope(keys, Suite.SM2_SM3)
    one, other = (verified(signed_by_sender(message, keys), keys) for _ in range(2))
    assert one.octets != other.octets
    assert one.message_digest == other.message_digest


@pytest.mark.spec("LI-1", "WF-4")
def test_step_1_wire_form() -> None:
    assert "DOCTYPE" in refused(Reason.NOT_CANONICAL, b"<!DOCTYPE x>" + OCTETS)
    refused(Reason.TOO_LARGE, OCTETS.replace(b"</Kind>", b" " * 65536 + b"</Kind>"))


@pytest.mark.spec("SG-1", "SG-2")
def test_step_2_template() -> None:
    refused(Reason.SIGNATURE_MISSING, b"<a></a>")
    refused(Reason.SIGNATURE_PROFILE, OCTETS.replace(b'URI=""', b'URI="#a"'))


@pytest.mark.spec("EN-1", "EN-2")
def test_step_3_schema_and_kind() -> None:
    refused(Reason.SCHEMA_INVALID, OCTETS.replace(b'node="420600"', b'node="x"'))
    assert refused(
        Reason.KIND_UNKNOWN, OCTETS.replace(b"case.submit</Kind>", b"case.conjure</Kind>")
    ).startswith("case.conjure")


@pytest.mark.spec("EN-10")
def test_step_3_a_case_for_messages_of_cases_and_for_no_ping() -> None:
    ping_key = KEYS.find(KeyUse.PING, SENDER.authority)
    ping = envelope(KEYS, kind="ping", sender=replace(SENDER, key=ping_key))
    assert "ping" in refused(Reason.SCHEMA_INVALID, signed_by_sender(ping, KEYS))
    loose = envelope(KEYS, case=None)
    assert "case.submit" in refused(Reason.SCHEMA_INVALID, signed_by_sender(loose, KEYS))


@pytest.mark.spec("EN-5")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Kind>", b"\n<Kind>"),
        (b"</Header>", b"</Header> "),
        (b"<Trace>", b'<e:Trace xmlns:e="urn:tongban:envelope:1">'),
    ],
    ids=["line feed", "space", "prefix"],
)
def test_step_3_header_and_manifest_have_one_written_form(old: bytes, new: bytes) -> None:
    """Canonical, in the schema and signed by its sender; and still a second spelling."""
    message = envelope(KEYS, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    content = write_content(message).replace(old, new)
    if b"e:Trace" in new:
        content = content.replace(b"</Trace>", b"</e:Trace>")
    assert read_envelope(etree.fromstring(unsigned(content)), rules().schemas) == message
    caught = failure(sign_content(content, KEYS.secrets[SENDER.key]))
    assert isinstance(caught, RefusedError)
    assert caught.reason is Reason.NOT_CANONICAL
    assert "octet" in caught.detail


@pytest.mark.spec("EN-3")
def test_step_4_environment() -> None:
    refused(Reason.ENVIRONMENT_MISMATCH, OCTETS.replace(b'"trial"', b'"production"'))


@pytest.mark.spec("SG-18", "TR-1")
def test_step_5_an_unknown_key_is_transient_even_with_a_good_signature() -> None:
    caught = failure(keys=keys_of([XIANGYANG]))
    assert isinstance(caught, UnavailableError)
    assert caught.reason is Reason.KEY_UNKNOWN
    assert SENDER.key in caught.detail


@pytest.mark.spec("SG-4")
def test_step_6_the_suite_is_the_registered_one() -> None:
    stranger = make_key("stranger", Suite.ED25519)
    refused(Reason.SUITE_MISMATCH, sign_envelope(MESSAGE, stranger))


@pytest.mark.spec("SG-6", "SU-8")
@pytest.mark.parametrize("use", [KeyUse.PING, KeyUse.RECEIPT])
def test_step_6_one_key_one_use(use: KeyUse) -> None:
    assert use in refused(Reason.KEY_USE, signed_with(use, WUHAN))


@pytest.mark.spec("SG-6", "SU-8")
def test_step_6_a_ping_takes_the_ping_key_and_no_other() -> None:
    key_id = KEYS.find(KeyUse.PING, authority_of(WUHAN))
    ping = envelope(KEYS, kind="ping", case=None, sender=replace(SENDER, key=key_id))
    assert verified(signed_by_sender(ping, KEYS), KEYS).envelope == ping
    refused(Reason.KEY_USE, signed_by_sender(envelope(KEYS, kind="ping", case=None), KEYS))


@pytest.mark.spec("SG-7")
def test_step_6_the_key_belongs_to_the_sending_authority() -> None:
    assert authority_of(XIANGYANG) in refused(
        Reason.KEY_OWNER, signed_with(KeyUse.ENVELOPE, XIANGYANG)
    )


@pytest.mark.spec("SG-7")
def test_step_6_the_key_is_delegated_to_the_sending_node() -> None:
    elsewhere = envelope(KEYS, sender=Sender(HUB, SENDER.authority, SENDER.key))
    assert "delegated to 420100" in refused(Reason.KEY_OWNER, signed_by_sender(elsewhere, KEYS))


@pytest.mark.spec("SG-8", "SG-16")
def test_step_7_live_a_revoked_key_is_refused_whatever_the_dates_say() -> None:
    for revoked_ms in (NOW_MS - DAY_MS, NOW_MS, NOW_MS + DAY_MS):
        refused(Reason.KEY_REVOKED, keys=registered(revoked_ms=revoked_ms))


@pytest.mark.spec("SG-17")
def test_step_7_historic_a_key_counts_until_it_was_revoked() -> None:
    keys = registered(revoked_ms=NOW_MS)
    assert isinstance(failure(keys=keys, now_ms=NOW_MS, live=False), RefusedError)
    verify_envelope(OCTETS, rules(), keys.trust(), NOW_MS - 1, live=False)


@pytest.mark.spec("SG-8", "SG-17", "TR-2")
def test_step_7_validity_has_a_first_and_a_last_instant() -> None:
    trust = KEYS.trust()
    old = envelope(KEYS, created_ms=NOW_MS - YEAR_MS, expires_ms=NOW_MS - YEAR_MS + DAY_MS)
    octets = signed_by_sender(old, KEYS)
    earliest = NOW_MS - YEAR_MS - MAX_CLOCK_SKEW_MS
    verify_envelope(octets, rules(), trust, earliest)
    verify_envelope(octets, rules(), trust, NOW_MS + YEAR_MS - 1)
    past = failure(octets, now_ms=NOW_MS + YEAR_MS)
    assert isinstance(past, RefusedError)
    assert past.reason is Reason.KEY_REVOKED
    # Too early by our clock: ours may be slow, so nothing is decided.
    early = failure(octets, now_ms=earliest - 1)
    assert isinstance(early, UnavailableError)
    assert early.reason is Reason.CLOCK_SKEW
    assert SENDER.key in early.detail


@pytest.mark.spec("SG-9")
def test_step_8_changed_content() -> None:
    changed = OCTETS.replace(b'node="420600"', b'node="420000"')
    refused(Reason.DIGEST_MISMATCH, changed)
    refused(Reason.DIGEST_MISMATCH, OCTETS.replace(b'size="13"', b'size="14"'))


@pytest.mark.spec("SG-10")
def test_step_9_another_signature() -> None:
    impostor = make_key("impostor")
    assert SENDER.key in refused(Reason.SIGNATURE_INVALID, sign_envelope(MESSAGE, impostor))
    transplanted = signed_by_sender(envelope(KEYS, number=2), KEYS)
    value = transplanted.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]
    own = OCTETS.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]
    refused(Reason.SIGNATURE_INVALID, OCTETS.replace(own, value))


@pytest.mark.spec("SG-10")
def test_step_9_a_signature_of_nothing() -> None:
    own = OCTETS.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]
    refused(Reason.SIGNATURE_INVALID, OCTETS.replace(own, b"A" * 86 + b"=="))


BATCH = signed_together([MESSAGE, envelope(KEYS, number=2), envelope(KEYS, number=3)], KEYS)


def proof_in(octets: bytes) -> Batched:
    proof = read_proof(base64.b64decode(value_in(octets)))
    assert isinstance(proof, Batched)
    return proof


def value_in(octets: bytes) -> bytes:
    return octets.partition(b"<ds:SignatureValue>")[2].partition(b"<")[0]


def with_proof(octets: bytes, proof: Batched) -> bytes:
    """The batched message with another proof."""
    return octets.replace(value_in(octets), base64.b64encode(write_proof(proof)))


@pytest.mark.spec("BP-1")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_each_message_of_a_batch_verifies_alone_and_is_the_same_message(suite: Suite) -> None:
    keys = keys_of(NODES, suite)
    messages = [envelope(keys, suite, number=number) for number in range(5)]
    for message, octets in zip(messages, signed_together(messages, keys), strict=True):
        result = verified(octets, keys)
        assert result.envelope == message
        assert proof_in(octets).size == 5
        alone = verified(signed_by_sender(message, keys), keys)
        assert result.message_digest == alone.message_digest


@pytest.mark.spec("BP-2")
def test_step_9_a_proof_belongs_to_its_message() -> None:
    first, second, third = (proof_in(octets) for octets in BATCH)
    assert SENDER.key in refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], second))
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], replace(first, index=1)))
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], replace(first, size=4)))
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], replace(first, path=third.path * 2)))
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], replace(first, signature=bytes(64))))


@pytest.mark.spec("BP-2")
def test_step_9_the_leaf_is_the_signed_info_and_not_the_digest() -> None:
    """A batch over bare digests would leave algorithm and template unsigned."""
    key = KEYS.secrets[SENDER.key]
    digests = [verified(octets, KEYS).message_digest for octets in BATCH[:2]]
    requests = [ProofRequest(SENDER.key, KeyUse.ENVELOPE, each) for each in digests]
    proofs = sign_group(KEYS, requests)
    assert isinstance(proofs[0], Batched)
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], proofs[0]))
    # Nor is the SignedInfo of the single form a leaf.
    requests = [
        ProofRequest(SENDER.key, KeyUse.ENVELOPE, signed_info(key.suite, each)) for each in digests
    ]
    proofs = sign_group(KEYS, requests)
    assert isinstance(proofs[0], Batched)
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], proofs[0]))


@pytest.mark.spec("BP-2")
@pytest.mark.parametrize("purpose", [KeyUse.PING, KeyUse.RECEIPT])
def test_step_9_a_batch_for_another_purpose(purpose: KeyUse) -> None:
    """Signed by the very key, over the very leaf; only the purpose is another."""
    key = KEYS.secrets[SENDER.key]
    digests = [verified(octets, KEYS).message_digest for octets in BATCH[:2]]
    leaves = [signed_info(key.suite, each, batched=True) for each in digests]
    meant, other = (
        sign_group(KEYS, [ProofRequest(SENDER.key, use, leaf) for leaf in leaves])[0]
        for use in (KeyUse.ENVELOPE, purpose)
    )
    assert isinstance(meant, Batched)
    assert isinstance(other, Batched)
    verified(with_proof(BATCH[0], meant), KEYS)
    refused(Reason.SIGNATURE_INVALID, with_proof(BATCH[0], other))


def test_step_6_the_suite_of_a_batch_is_the_registered_one() -> None:
    stranger = make_key("stranger", Suite.ED25519)
    content = write_content(MESSAGE)
    message_digest = digest(stranger.suite, content)
    request = envelope_request(stranger.public, KeyUse.ENVELOPE, message_digest)
    strangers = Keys([], {stranger.public.key_id: stranger})
    proof, _ = sign_group(strangers, [request, request])
    refused(Reason.SUITE_MISMATCH, attach(content, stranger.suite, message_digest, proof))
    text = BATCH[0].replace(b"ecdsa-p256-sha256+merkle", b"sm2-sm3+merkle")
    refused(Reason.SIGNATURE_PROFILE, text)


def test_step_6_a_batch_of_another_authority_s_key() -> None:
    """Owner, node and use are held against each message, not against its batch."""
    elsewhere = envelope(KEYS, sender=Sender(HUB, SENDER.authority, SENDER.key))
    octets = signed_together([MESSAGE, elsewhere], KEYS)
    checking = Checking()
    verify_envelope(octets[0], rules(), KEYS.trust(), NOW_MS, checking=checking)
    with pytest.raises(RefusedError) as caught:
        verify_envelope(octets[1], rules(), KEYS.trust(), NOW_MS, checking=checking)
    assert caught.value.reason is Reason.KEY_OWNER


@pytest.mark.spec("BP-5")
def test_step_9_a_zeroed_root_signature_after_the_root_was_verified() -> None:
    trust, checking = KEYS.trust(), Checking()
    verify_envelope(BATCH[0], rules(), trust, NOW_MS, checking=checking)
    forged = with_proof(BATCH[1], replace(proof_in(BATCH[1]), signature=bytes(64)))
    with pytest.raises(RefusedError) as caught:
        verify_envelope(forged, rules(), trust, NOW_MS, checking=checking)
    assert caught.value.reason is Reason.SIGNATURE_INVALID
    verify_envelope(BATCH[1], rules(), trust, NOW_MS, checking=checking)


@pytest.mark.spec("BP-5")
def test_step_7_a_revoked_key_is_refused_although_its_root_is_known() -> None:
    checking = Checking()
    verify_envelope(BATCH[0], rules(), KEYS.trust(), NOW_MS, checking=checking)
    revoked = registered(revoked_ms=NOW_MS).trust()
    for octets in BATCH:
        with pytest.raises(RefusedError) as caught:
            verify_envelope(octets, rules(), revoked, NOW_MS, checking=checking)
        assert caught.value.reason is Reason.KEY_REVOKED


@pytest.mark.spec("BP-6")
def test_step_9_one_signature_too_many_is_not_decided() -> None:
    def charge() -> None:
        raise UnavailableError(Reason.OVERLOADED, "too many")

    for octets in (OCTETS, BATCH[0]):
        with pytest.raises(UnavailableError) as caught:
            verify_envelope(octets, rules(), KEYS.trust(), NOW_MS, checking=Checking(charge=charge))
        assert caught.value.reason is Reason.OVERLOADED


@pytest.mark.spec("SG-11", "TR-2")
def test_step_10_created_in_the_future_is_transient() -> None:
    verified(OCTETS, KEYS, NOW_MS - MAX_CLOCK_SKEW_MS)
    caught = failure(now_ms=NOW_MS - MAX_CLOCK_SKEW_MS - 1)
    assert isinstance(caught, UnavailableError)
    assert caught.reason is Reason.CLOCK_SKEW


@pytest.mark.spec("SG-11")
def test_step_10_says_nothing_about_what_was_forged() -> None:
    forged = sign_envelope(MESSAGE, make_key("impostor"))
    caught = failure(forged, now_ms=NOW_MS - DAY_MS)
    assert isinstance(caught, RefusedError)
    assert caught.reason is Reason.SIGNATURE_INVALID


@pytest.mark.spec("SG-11")
def test_the_first_step_that_fails_gives_the_reason() -> None:
    """Each message breaks two neighbouring steps; nobody learns about the second."""
    unknown_kind = OCTETS.replace(b"case.submit</Kind>", b"case.conjure</Kind>")
    production = OCTETS.replace(b'"trial"', b'"production"')
    nobody = keys_of([XIANGYANG])
    other_use = registered(use=KeyUse.RECEIPT, revoked_ms=NOW_MS)
    changed = OCTETS.replace(b'size="13"', b'size="14"')
    forged = sign_envelope(MESSAGE, make_key("impostor")).replace(b'size="13"', b'size="14"')
    for octets, keys, reason in [
        (OCTETS.replace(b'URI=""', b"URI='#a'"), KEYS, Reason.NOT_CANONICAL),
        (unknown_kind.replace(b'URI=""', b'URI="#a"'), KEYS, Reason.SIGNATURE_PROFILE),
        (unknown_kind.replace(b'"trial"', b'"production"'), KEYS, Reason.KIND_UNKNOWN),
        (production, nobody, Reason.ENVIRONMENT_MISMATCH),
        (sign_envelope(MESSAGE, make_key("x", Suite.ED25519)), nobody, Reason.KEY_UNKNOWN),
        (OCTETS, other_use, Reason.KEY_USE),
        (changed, registered(revoked_ms=NOW_MS), Reason.KEY_REVOKED),
        (forged, KEYS, Reason.DIGEST_MISMATCH),
    ]:
        assert str(failure(octets, keys)).startswith(f"{reason.code}:")


def test_an_expired_message_is_still_authentic() -> None:
    assert verified(OCTETS, KEYS, MESSAGE.header.expires_ms + DAY_MS).envelope == MESSAGE


@pytest.mark.spec("SG-18", "TR-1")
def test_an_empty_trust_set_knows_nobody() -> None:
    with pytest.raises(UnavailableError):
        verify_envelope(OCTETS, rules(), TrustSet.of([], version=1), NOW_MS)


def test_the_addressee_is_for_the_caller_to_check() -> None:
    elsewhere = envelope(KEYS, recipient=Address(HUB, authority_of(HUB)), number=5)
    assert verified(signed_by_sender(elsewhere, KEYS), KEYS).envelope == elsewhere
    assert elsewhere.header.message_id == message_id(5)


@pytest.mark.spec("PA-4")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_part_is_held_against_the_manifest(suite: Suite) -> None:
    keys = keys_of(NODES, suite)
    message = verified(signed_by_sender(envelope(keys, suite), keys), keys)
    body, scan = message.envelope.parts
    check_part(message, body, BODY)
    check_part(message, scan, SCAN)
    for octets, named in [(SCAN + b"\0", "listed 11"), (SCAN[:-1], "10 octets"), (b"", "0 octets")]:
        with pytest.raises(UnavailableError, match=named) as caught:
            check_part(message, scan, octets)
        assert caught.value.reason is Reason.PART_MISMATCH
    with pytest.raises(UnavailableError, match="m1: digest"):
        check_part(message, scan, SCAN[::-1])
