from __future__ import annotations

import base64

import pytest

from protocol.errors import RefusedError
from protocol.limits import MAX_ENVELOPE_OCTETS
from protocol.reasons import Reason
from protocol.wire import parse_canonical
from signing.profile import DIGEST_URI, DS, SIGNATURE_URI, SignedContent, take_apart
from signing.suites import Suite, digest
from tests.messages import WUHAN, XIANGYANG, envelope, keys_of, signed_by_sender

KEYS = keys_of([WUHAN, XIANGYANG])
SIGNED = signed_by_sender(envelope(KEYS), KEYS).decode()
START = SIGNED.index("<ds:Signature ")
SIGNATURE = SIGNED[START : -len("</Envelope>")]
INNER = SIGNATURE.replace(f' xmlns:ds="{DS}"', "")
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
TRANSFORM = '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform>'
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
    assert key.verify(signed.signed_info, signed.signature)


@pytest.mark.spec("SG-12", "SG-13")
def test_the_template_octet_for_octet() -> None:
    signed = apart(SIGNED)
    value = base64.b64encode(signed.signature).decode()
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


@pytest.mark.spec("SG-2")
def test_no_signature() -> None:
    assert refusal(SIGNED.replace(SIGNATURE, "")).reason is Reason.SIGNATURE_MISSING
    assert refusal("<a></a>").reason is Reason.SIGNATURE_MISSING


@pytest.mark.spec("SG-3")
@pytest.mark.parametrize("uri", ["", SHA512, f"{DS}rsa-sha1", "urn:tongban:signature:1:none"])
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
