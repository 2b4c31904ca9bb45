from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.envelope import MessageReference
from protocol.errors import RefusedError
from protocol.frames import (
    AskFrame,
    BusyFrame,
    EnvelopeFrame,
    Frame,
    HeadFrame,
    HeldFrame,
    KeptFrame,
    NotHereFrame,
    PageFrame,
    PartFrame,
    Piece,
    RecalledFrame,
    RecallFrame,
    ReceiptFrame,
    WaitingFrame,
    WantedFrame,
    frame_size,
    read_frames,
    write_frames,
)
from protocol.limits import HEAD_OCTETS, MAX_BATCH
from protocol.proof import Batched, Proof, Single, path_length
from protocol.reasons import Reason
from protocol.receipt import Receipt, ReceiptType, read_receipt, receipt_statement, write_receipt
from tests.messages import HUB, WUHAN, XIANGYANG, authority_of, message_id

references = st.builds(
    MessageReference,
    st.sampled_from([authority_of(node) for node in (HUB, WUHAN, XIANGYANG)]),
    st.integers(0, (1 << 74) - 1).map(message_id),
)
paths = st.lists(
    st.from_regex(r"[1-9][0-9]{5}", fullmatch=True), min_size=1, max_size=4, unique=True
).map(tuple)
held = st.binary(max_size=40)
part_ids = st.from_regex(r"[a-z][a-z0-9\-]{0,31}", fullmatch=True)
u32 = st.integers(0, (1 << 32) - 1)
u64 = st.integers(0, (1 << 64) - 1)
transient = st.sampled_from([reason for reason in Reason if not reason.final])
final = st.sampled_from([reason for reason in Reason if reason.final])
frames = st.one_of(
    st.builds(EnvelopeFrame, paths, held),
    st.builds(PartFrame, references, part_ids, u64, held),
    st.builds(ReceiptFrame, held),
    st.builds(AskFrame, paths, held),
    st.builds(WantedFrame, references, part_ids, u64),
    st.builds(WaitingFrame, references, u32),
    st.builds(BusyFrame, st.none() | references, transient, u32),
    st.builds(NotHereFrame, references, transient),
    st.builds(KeptFrame, references),
    st.builds(
        HeadFrame,
        st.binary(min_size=HEAD_OCTETS, max_size=HEAD_OCTETS),
        held,
        u64,
        st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
    ),
    st.builds(HeldFrame, st.binary(min_size=HEAD_OCTETS, max_size=HEAD_OCTETS)),
    st.builds(RecallFrame, u32, u64, u64, held),
    st.builds(
        RecalledFrame,
        held,
        st.lists(held, max_size=3).map(tuple),
        st.lists(st.builds(Piece, part_ids, u64, held), max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(PageFrame, u64, held, held),
)
digests = st.binary(min_size=32, max_size=32)


@st.composite
def proofs(draw: st.DrawFn) -> Proof:
    signature = draw(st.binary(min_size=64, max_size=64))
    if draw(st.booleans()):
        return Single(signature)
    size = draw(st.integers(2, MAX_BATCH))
    index = draw(st.integers(0, size - 1))
    path = tuple(draw(digests) for _ in range(path_length(index, size)))
    return Batched(index, size, path, signature)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    kind = draw(st.sampled_from(ReceiptType))
    refused = kind is ReceiptType.REFUSED
    reference = draw(st.none() | references) if refused else draw(references)
    return Receipt(
        type=kind,
        issuer=draw(st.sampled_from([HUB, WUHAN, XIANGYANG])),
        reference=reference,
        message_digest=bytes(32) if reference is None else draw(digests.filter(any)),
        octets_digest=draw(digests),
        instant_ms=draw(u64),
        suite=draw(st.sampled_from(["sm2-sm3", "ecdsa-p256-sha256", "ed25519"])),
        key_id=draw(st.from_regex(r"[0-9A-Za-z_\-]{42}[AEIMQUYcgkosw048]", fullmatch=True)),
        reason=draw(final) if refused else None,
        detail=draw(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=50)),
    )


@given(st.lists(frames, max_size=5))
def test_every_post_is_read_back(post: list[Frame]) -> None:
    octets = write_frames(post)
    assert read_frames(octets) == post
    assert len(octets) == sum(map(frame_size, post))


@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_a_damaged_post_is_read_in_one_way_or_refused(
    post: list[Frame], data: st.DataObject
) -> None:
    octets = bytearray(write_frames(post))
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_frames(bytes(octets))
    except RefusedError:
        return
    # Whatever is read has this one spelling: two posts never mean the same.
    assert write_frames(found) == octets


@given(st.binary(max_size=300))
def test_noise_is_read_in_one_way_or_refused(octets: bytes) -> None:
    try:
        found = read_frames(octets)
    except RefusedError:
        return
    assert write_frames(found) == octets


@given(receipts(), proofs())
def test_every_receipt_is_read_back(receipt: Receipt, proof: Proof) -> None:
    signed = read_receipt(write_receipt(receipt, proof))
    assert (signed.receipt, signed.proof) == (receipt, proof)


@given(receipts(), st.data())
def test_a_damaged_receipt_says_something_else_or_is_refused(
    receipt: Receipt, data: st.DataObject
) -> None:
    octets = bytearray(write_receipt(receipt, Single(bytes(64))))
    octets[data.draw(st.integers(0, len(octets) - 66))] ^= data.draw(st.integers(1, 255))
    try:
        found = read_receipt(bytes(octets)).receipt
    except RefusedError as refusal:
        assert refusal.reason is Reason.RECEIPT_INVALID  # noqa: PT017 - the other outcome is fine
        return
    assert found != receipt
    assert receipt_statement(found) == octets[:-65]
