from __future__ import annotations

import base64

import pytest

from protocol.errors import RefusedError
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.proof import Batched, Single, path_length, write_proof
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from signing.profile import (
    DIGEST_URI,
    DS,
    MAX_SIGNATURE_ELEMENT_OCTETS,
    MERKLE_URI,
    SIGNATURE_URI,
    SignedContent,
    attach,
    take_apart,
)
from signing.suites import Suite, digest
from tests.messages import (
    WUHAN,
    XIANGYANG,
    envelope,
    keys_of,
    signed_by_sender,
    signed_together,
)

KEYS = keys_of([WUHAN, XIANGYANG])
SIGNED = signed_by_sender(envelope(KEYS), KEYS).decode()
START = SIGNED.index("<ds:Signature ")
SIGNATURE = SIGNED[START : -len("</Envelope>")]
INNER = SIGNATURE.replace(f' xmlns:ds="{DS}"', "")
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
TRANSFORM = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>'
ZERO = bytes(64)
KEY_INFO = "<ds:KeyInfo><ds:KeyName>x</ds:KeyName></ds:KeyInfo>"


def apart(text: str) -> SignedContent:
    octets = text.encode()
    return take_apart(octets, parse_canonical(octets, MAX_ENVELOPE_OCTETS))


def refusal(text: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        apart(text)
    return caught.value


def edited(old: str, new: str) -> str:
    assert old in SIGNATURE
    return SIGNED[:START] + SIGNATURE.replace(old, new, 1) + "</Envelope>"


@pytest.mark.spec("SG-13", "SG-14")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_content_and_signature_come_apart_and_fit(suite: Suite) -> None:
    keys = keys_of([WUHAN, XIANGYANG], suite)
    message = envelope(keys, suite)
    signed = apart(signed_by_sender(message, keys).decode())
    assert signed.suite is suite
    assert digest(suite, signed.content) == signed.message_digest
    key = keys.public(message.header.sender.key)
    assert key.verify(signed.signed_info, signed.proof.signature)


@pytest.mark.spec("SG-12", "SG-13")
def test_the_template_octet_for_octet() -> None:
    signed = apart(SIGNED)
    value = base64.b64encode(signed.proof.signature).decode()
    stated = base64.b64encode(signed.message_digest).decode()
    template = (
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">'
        "</ds:CanonicalizationMethod><ds:SignatureMethod "
        'Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"></ds:SignatureMethod>'
        '<ds:Reference URI=""><ds:Transforms><ds:Transform '
        'Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>'
        f"{TRANSFORM}</ds:Transforms><ds:DigestMethod "
        'Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
        f"<ds:DigestValue>{stated}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        f"<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>"
    )
    assert template == SIGNATURE
    assert signed.content.decode() == SIGNED.replace(SIGNATURE, "")


@pytest.mark.spec("SG-14")
def test_what_is_signed_is_the_signed_info_as_it_is_canonicalised() -> None:
    # Taken out of its parent, exclusive c14n declares the one namespace it uses.
    inside = SIGNATURE.partition("<ds:SignedInfo>")[2].partition("</ds:SignedInfo>")[0]
    alone = f'<ds:SignedInfo xmlns:ds="{DS}">{inside}</ds:SignedInfo>'
    assert apart(SIGNED).signed_info == alone.encode()


@pytest.mark.spec("BP-4")
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_batched_message_differs_in_method_and_value_only(suite: Suite) -> None:
    keys = keys_of([WUHAN, XIANGYANG], suite)
    message, other = envelope(keys, suite), envelope(keys, suite, number=2)
    text = signed_together([message, other], keys)[0].decode()
    signed, alone = apart(text), apart(signed_by_sender(message, keys).decode())
    assert isinstance(signed.proof, Batched)
    assert signed.suite is suite
    assert (signed.content, signed.message_digest) == (alone.content, alone.message_digest)
    method = f'Algorithm="urn:tongban:signature:1:{suite}+merkle"'.encode()
    assert method in signed.signed_info
    plain = f'Algorithm="{SIGNATURE_URI[suite]}"'.encode()
    assert signed.signed_info.replace(method, plain) == alone.signed_info
    value = base64.b64encode(write_proof(signed.proof)).decode()
    assert text.endswith(
        f"<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature></Envelope>"
    )


def batched_with(value: bytes, text: str = SIGNED) -> str:
    """The message with the batch's SignatureMethod and this value."""
    own = SIGNATURE.partition("<ds:SignatureValue>")[2].partition("<")[0]
    text = text.replace(SIGNATURE_URI[Suite.P256], MERKLE_URI[Suite.P256])
    return text.replace(own, base64.b64encode(value).decode())


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(
    ("proof", "named"),
    [
        (Batched(0, 1, (), ZERO), "a batch of 1,"),
        (Batched(0, 0, (), ZERO), "a batch of 0,"),
        (Batched(0, 4097, (bytes(32),) * 13, ZERO), "a batch of 4097,"),
        (Batched(2, 2, (bytes(32),), ZERO), "leaf 2 in a batch of 2"),
        (Batched(0, 2, (), ZERO), "the path of leaf 0 among 2 has 1 hashes"),
        (Batched(0, 2, (bytes(32),) * 2, ZERO), "the path of leaf 0 among 2 has 1 hashes"),
        (Batched(2, 3, (bytes(32),) * 2, ZERO), "the path of leaf 2 among 3 has 1 hashes"),
        (Batched(0, 2, (bytes(32),), ZERO + b"\0"), "a batch proof of 106 octets, not 105"),
        (Batched(0, 2, (bytes(32),), ZERO[1:]), "a batch proof of 104 octets, not 105"),
    ],
)
def test_a_batch_proof_that_does_not_hold_together(proof: Batched, named: str) -> None:
    caught = refusal(batched_with(write_proof(proof)))
    assert caught.reason is Reason.BATCH_PROOF
    assert named in caught.detail


@pytest.mark.spec("BP-3")
@pytest.mark.parametrize(("index", "size"), [(0, 2), (1, 2), (0, 4096), (4095, 4096)])
def test_the_smallest_and_the_largest_batch(index: int, size: int) -> None:
    proof = Batched(index, size, (b"p" * 32,) * path_length(index, size), ZERO)
    assert apart(batched_with(write_proof(proof))).proof == proof


@pytest.mark.spec("SG-15")
def test_a_value_that_does_not_hold_together_is_named_before_the_template() -> None:
    broken = batched_with(write_proof(Batched(0, 1, (), ZERO)))
    with_key = broken.replace("</ds:Signature>", KEY_INFO + "</ds:Signature>")
    assert refusal(with_key).reason is Reason.BATCH_PROOF
    longer = edited("</ds:SignatureValue>", "AAAA</ds:SignatureValue>" + KEY_INFO)
    assert "base64" in refusal(longer).detail


@pytest.mark.spec("BP-4")
def test_method_and_form_of_the_value_belong_together() -> None:
    single = refusal(batched_with(b"\0" + ZERO))
    assert (single.reason, "single" in single.detail) == (Reason.BATCH_PROOF, True)
    bare = refusal(batched_with(b"\2" + ZERO[1:]))
    assert (bare.reason, "form 02" in bare.detail) == (Reason.BATCH_PROOF, True)
    proof = write_proof(Batched(0, 2, (bytes(32),), ZERO))
    under_single = batched_with(proof).replace(MERKLE_URI[Suite.P256], SIGNATURE_URI[Suite.P256])
    assert "105 octets, not 64" in refusal(under_single).detail
    assert refusal(under_single).reason is Reason.SIGNATURE_PROFILE


def test_a_batch_proof_is_base64_in_its_one_form() -> None:
    good = batched_with(write_proof(Batched(0, 8, (bytes(32),) * 3, ZERO)))
    value = good.partition("<ds:SignatureValue>")[2].partition("<")[0]
    assert value.endswith("AA==")
    for other in (value[:-3] + "B==", value[:-2], value + "\n", value[:64] + "\n" + value[64:]):
        caught = refusal(good.replace(value, other))
        assert caught.reason is Reason.SIGNATURE_PROFILE
        assert "base64" in caught.detail


def test_the_longest_signature_fits_what_is_left_for_it() -> None:
    longest = Batched(0, 4096, (bytes(32),) * 12, ZERO)
    content = SIGNED.replace(SIGNATURE, "").encode()
    added = {len(attach(content, suite, bytes(32), longest)) - len(content) for suite in Suite}
    assert max(added) == MAX_SIGNATURE_ELEMENT_OCTETS


@pytest.mark.spec("SG-2")
def test_the_namespace_in_a_text_is_no_signature() -> None:
    """Not what the template is about; the schema refuses it (SG-15, EN-1)."""
    content = f"<Envelope><a>{DS}Signature</a></Envelope>".encode()
    octets = attach(content, Suite.P256, bytes(32), Single(ZERO))
    assert apart(octets.decode()).content == content


def test_no_signature() -> None:
    assert refusal(SIGNED.replace(SIGNATURE, "")).reason is Reason.SIGNATURE_MISSING
    assert refusal("<a></a>").reason is Reason.SIGNATURE_MISSING


@pytest.mark.spec("SG-3", "VR-2")
@pytest.mark.parametrize("uri", ["", SHA512, f"{DS}rsa-sha1", "urn:tongban:signature:1:ed25519"])
def test_a_suite_nobody_registered(uri: str) -> None:
    caught = refusal(edited(SIGNATURE_URI[Suite.P256], uri))
    assert caught.reason is Reason.SUITE_UNKNOWN
    assert uri in caught.detail


@pytest.mark.spec("SG-1", "SG-15")
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SIGNED[:START] + SIGNATURE * 2 + "</Envelope>", "more than one"),
        (edited("</ds:Reference>", "</ds:Reference>" + INNER), "more than one"),
        (SIGNED.replace(SIGNATURE, "").replace("<Header>", SIGNATURE + "<Header>"), "last child"),
        (SIGNED.replace(SIGNATURE, "").replace("</Parts>", SIGNATURE + "</Parts>"), "last child"),
        (SIGNATURE, "last child"),
        (
            SIGNED.replace("</Parts>", f'<ds:Object xmlns:ds="{DS}"></ds:Object></Parts>'),
            "outside",
        ),
        (
            attach(
                f'<Envelope xmlns="{DS}"><a xmlns="urn:a"></a></Envelope>'.encode(),
                Suite.P256,
                bytes(32),
                Single(ZERO),
            ).decode(),
            "outside",
        ),
        (edited(f"{DS}enveloped-signature", INCLUSIVE), f"Transform with Algorithm='{INCLUSIVE}'"),
        (edited(TRANSFORM, ""), "DigestMethod where Transform belongs"),
        (edited(TRANSFORM, TRANSFORM * 2), "Transform where DigestMethod belongs"),
        (edited('<ds:Reference URI="">', '<ds:Reference URI="#x">'), "Reference with URI='#x'"),
        (edited('<ds:Reference URI="">', "<ds:Reference>"), "Reference with no attributes"),
        (edited('<ds:Reference URI="">', '<ds:Reference Id="x" URI="">'), "Id='x'"),
        (edited("<ds:SignedInfo>", '<ds:SignedInfo Id="x">'), "SignedInfo with Id='x'"),
        (edited(f'xmlns:ds="{DS}"', f'xmlns:ds="{DS}" Id="x"'), "Signature with Id='x'"),
        (
            edited("CanonicalizationMethod Algorithm", "CanonicalizationMethod Version"),
            "CanonicalizationMethod with Version",
        ),
        (
            edited('exc-c14n#"></ds:Canon', 'exc-c14n#WithComments"></ds:Canon'),
            "CanonicalizationMethod with Algorithm",
        ),
        (edited(DIGEST_URI[Suite.P256], SHA512), f"DigestMethod with Algorithm='{SHA512}'"),
        # Each suite has its own digest; they do not mix.
        (edited(DIGEST_URI[Suite.P256], DIGEST_URI[Suite.SM2_SM3]), "DigestMethod"),
        (edited("</ds:Signature>", KEY_INFO + "</ds:Signature>"), "KeyInfo after SignatureValue"),
        (edited("<ds:SignatureValue>", KEY_INFO + "<ds:SignatureValue>"), "KeyInfo where"),
        (edited("</ds:SignatureValue>", "<x></x></ds:SignatureValue>"), "x after SignatureValue"),
        (edited("<ds:SignedInfo>", "\n<ds:SignedInfo>"), "white space, prefix or order"),
        (SIGNED.replace("</Envelope>", "\n</Envelope>"), "white space, prefix or order"),
        (SIGNED.replace("ds:", "dsig:").replace(":ds=", ":dsig="), "white space, prefix or order"),
        (
            SIGNED.replace("Envelope", "e:Envelope").replace("xmlns=", "xmlns:e="),
            "white space, prefix or order",
        ),
    ],
)
def test_every_deviation_is_refused_by_its_rule(text: str, named: str) -> None:
    caught = refusal(text)
    assert caught.reason is Reason.SIGNATURE_PROFILE
    assert named in caught.detail


@pytest.mark.spec("ID-6", "SG-15")
@pytest.mark.parametrize("name", ["DigestValue", "SignatureValue"])
def test_a_value_is_base64_in_its_one_form_and_of_its_length(name: str) -> None:
    value = SIGNATURE.partition(f"<ds:{name}>")[2].partition("<")[0]
    assert value.endswith("=")
    for other, named in [
        ("", "octets"),
        ("AAAA", "octets"),
        (value + "\n", "base64"),
        (value[:8] + "\n" + value[8:], "base64"),
        (value.rstrip("="), "base64"),
        (value.replace("=", "") + "====", "base64"),
        ("Ä" + value[1:], "base64"),
        ("_" + value[1:], "base64"),
        (base64.b64encode(base64.b64decode(value) + b"\0").decode(), "octets"),
    ]:
        caught = refusal(edited(f"<ds:{name}>{value}<", f"<ds:{name}>{other}<"))
        assert caught.reason is Reason.SIGNATURE_PROFILE
        assert named in caught.detail, other
    twice = f"<ds:{name}>{value}</ds:{name}>"
    assert "exactly one" in refusal(edited(twice, twice * 2)).detail
    assert "exactly one" in refusal(edited(twice, "")).detail


@pytest.mark.spec("ID-6", "SG-15")
def test_spare_bits_of_base64_are_no_second_spelling() -> None:
    value = SIGNATURE.partition("<ds:DigestValue>")[2].partition("<")[0]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    neighbour = value[:-2] + alphabet[alphabet.index(value[-2]) + 1] + "="
    assert base64.b64decode(neighbour) == base64.b64decode(value)
    assert "one form" in refusal(edited(value, neighbour)).detail


def test_a_detail_stays_short_and_harmless() -> None:
    caught = refusal(edited(SIGNATURE_URI[Suite.P256], "x" * 9000))
    assert len(caught.detail) < 200
    caught = refusal(edited('URI=""', f'URI="{"x" * 9000}"'))
    assert len(caught.detail) < 200
