from __future__ import annotations

import base64
import json

import pytest

from protocol.errors import LocalUseError, RefusedError, UnavailableError
from protocol.limits import MAX_DOCUMENT_OCTETS
from protocol.reasons import Reason
from signing.document import (
    assemble_document,
    open_document,
    sign_document,
    signed_octets,
    signers,
)
from signing.suites import PrivateKey, PublicKey, Suite, private_key_from_entropy

TYPE = "application/vnd.tongban.test+json"
PAYLOAD = '{"name":"湖北"}'.encode()


def key(name: str, suite: Suite = Suite.ED25519) -> PrivateKey:
    return private_key_from_entropy(suite, name.encode().ljust(48, b"."))


ONE, TWO, THREE = key("one"), key("two"), key("three", Suite.P256)


def refusal(octets: bytes, *keys: PublicKey, threshold: int = 1, kind: str = TYPE) -> Reason:
    with pytest.raises(RefusedError) as caught:
        open_document(octets, kind, keys, threshold)
    return caught.value.reason


@pytest.mark.parametrize("suite", list(Suite))
def test_what_was_signed_comes_out_in_every_suite(suite: Suite) -> None:
    signer = key("suite", suite)
    octets = sign_document(TYPE, PAYLOAD, [signer])
    assert open_document(octets, TYPE, [signer.public]) == PAYLOAD
    assert signers(octets) == {signer.public.key_id}


@pytest.mark.spec("SD-2")
def test_the_signature_covers_type_and_payload_with_their_lengths() -> None:
    # The example of the DSSE protocol document.
    covered = signed_octets("http://example.com/HelloWorld", b"hello world")
    assert covered == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert signed_octets("事", "项".encode()) == "DSSEv1 3 事 3 项".encode()


@pytest.mark.spec("SD-1")
@pytest.mark.parametrize("signers", [[ONE], [ONE, TWO], [TWO, ONE], [ONE, ONE]])
def test_the_file_is_plain_dsse_json(signers: list[PrivateKey]) -> None:
    """Signatures in the order of their key ids, whoever signed first, each key once."""
    octets = sign_document(TYPE, PAYLOAD, signers)
    keys = sorted({key.public.key_id: key for key in signers}.items())
    expected = {
        "payloadType": TYPE,
        "payload": base64.b64encode(PAYLOAD).decode(),
        "signatures": [
            {
                "keyid": key_id,
                "sig": base64.b64encode(key.sign(signed_octets(TYPE, PAYLOAD))).decode(),
            }
            for key_id, key in keys
        ],
    }
    assert json.loads(octets) == expected
    assert octets == json.dumps(expected, separators=(",", ":")).encode()


@pytest.mark.spec("SD-4")
def test_no_octet_can_change_even_where_one_good_signature_would_do() -> None:
    octets = sign_document(TYPE, PAYLOAD, [ONE, TWO])
    keys = [ONE.public, TWO.public]
    for place in range(len(octets)):
        for bit in (0x01, 0x20):
            spoiled = bytearray(octets)
            spoiled[place] ^= bit
            with pytest.raises(RefusedError):
                open_document(bytes(spoiled), TYPE, keys)
    for place in range(len(octets)):
        with pytest.raises(RefusedError):
            open_document(octets[:place], TYPE, keys)


@pytest.mark.spec("SD-3")
def test_another_encoding_of_the_same_file_is_refused() -> None:
    octets = sign_document(TYPE, PAYLOAD, [ONE, TWO])
    tree = json.loads(octets)
    first, second = tree["signatures"]
    others = [
        octets + b"\n",
        b"\xef\xbb\xbf" + octets,
        json.dumps(tree).encode(),
        octets.replace(b"payloadType", b"payload\\u0054ype"),
        octets[:-1] + b',"more":1}',
        octets.replace(b'{"payloadType"', b'{"payload":"","payloadType"'),
        json.dumps(tree | {"signatures": [second, first]}, separators=(",", ":")).encode(),
        json.dumps(tree | {"signatures": [first, first]}, separators=(",", ":")).encode(),
        json.dumps(tree | {"signatures": []}, separators=(",", ":")).encode(),
        octets.replace(tree["payload"].encode(), tree["payload"].encode() + b"===="),
    ]
    for other in others:
        assert refusal(other, ONE.public, TWO.public) is Reason.DOCUMENT_INVALID, other


RUBBISH = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "not UTF-8": b"\xff\xfe",
    "number for text": b'{"payloadType":1,"payload":"","signatures":[{"keyid":"a","sig":""}]}',
    "no signatures": b'{"payloadType":"","payload":"","signatures":{}}',
    "text for signature": b'{"payloadType":"","payload":"","signatures":["a"]}',
    "list for key id": b'{"payloadType":"","payload":"","signatures":[{"keyid":[],"sig":""}]}',
    "surrogate": b'{"payloadType":"\\ud800","payload":"","signatures":[{"keyid":"a","sig":""}]}',
    "deep": b"[" * 200_000,
    "long number": b"1" * 5_000,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused_by_name(name: str) -> None:
    assert refusal(RUBBISH[name], ONE.public) is Reason.DOCUMENT_INVALID


@pytest.mark.spec("LI-20")
def test_a_larger_file_is_not_even_read() -> None:
    octets = sign_document(TYPE, PAYLOAD, [ONE])
    small = base64.b64encode(PAYLOAD)
    large = octets.replace(small, small + b"A" * MAX_DOCUMENT_OCTETS)
    assert refusal(large, ONE.public) is Reason.TOO_LARGE


@pytest.mark.spec("SD-4")
def test_a_key_nobody_trusts_does_not_count() -> None:
    assert refusal(sign_document(TYPE, PAYLOAD, [ONE]), TWO.public) is Reason.DOCUMENT_SIGNATURE
    assert refusal(sign_document(TYPE, PAYLOAD, [ONE])) is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("SD-4")
def test_a_signature_by_a_stranger_beside_a_good_one_is_refused() -> None:
    octets = sign_document(TYPE, PAYLOAD, [ONE, TWO])
    assert refusal(octets, ONE.public) is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("SD-4")
def test_a_signature_under_another_ones_name_is_refused() -> None:
    stolen = ONE.sign(signed_octets(TYPE, PAYLOAD))
    octets = assemble_document(TYPE, PAYLOAD, {TWO.public.key_id: stolen})
    assert refusal(octets, ONE.public, TWO.public) is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("SD-6")
def test_signed_as_another_type_is_refused() -> None:
    octets = sign_document("application/vnd.tongban.other+json", PAYLOAD, [ONE])
    assert refusal(octets, ONE.public) is Reason.DOCUMENT_SIGNATURE
    relabelled = octets.replace(b"tongban.other", b"tongban.test")
    assert refusal(relabelled, ONE.public) is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("SD-5")
def test_a_threshold_counts_different_keys() -> None:
    keys = (ONE.public, TWO.public, THREE.public)
    both = sign_document(TYPE, PAYLOAD, [ONE, THREE])
    assert open_document(both, TYPE, keys, threshold=2) == PAYLOAD
    assert refusal(both, *keys, threshold=3) is Reason.DOCUMENT_SIGNATURE
    assert refusal(sign_document(TYPE, PAYLOAD, [ONE, ONE]), *keys, threshold=2) is (
        Reason.DOCUMENT_SIGNATURE
    )


def test_a_threshold_below_one_is_our_bug() -> None:
    with pytest.raises(LocalUseError):
        open_document(sign_document(TYPE, PAYLOAD, [ONE]), TYPE, [ONE.public], threshold=0)


@pytest.mark.spec("LI-21")
def test_nothing_is_written_that_no_reader_takes() -> None:
    with pytest.raises(LocalUseError):
        sign_document(TYPE, PAYLOAD, [])
    with pytest.raises(LocalUseError):
        sign_document(TYPE, bytes(MAX_DOCUMENT_OCTETS), [ONE])


@pytest.mark.spec("TR-5")
def test_what_could_not_be_checked_neither_passes_nor_is_refused() -> None:
    class Broken:
        def verify(self, octets: bytes, signature: bytes) -> bool:
            del octets, signature
            raise UnavailableError(Reason.SUITE_UNAVAILABLE, "the library is gone")

    public = PublicKey(Suite.ED25519, ONE.public.spki, ONE.public.key_id, Broken())
    with pytest.raises(UnavailableError):
        open_document(sign_document(TYPE, PAYLOAD, [ONE]), TYPE, [public])
