"""Group signature, family keyinfo: whatever a signature may say about keys, and where it may point.

All but one are signed by the registered key, so that only the KeyInfo can be refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.x509.oid import NameOID

from protocol.reasons import Reason
from signing.profile import DS
from tests.messages import make_key
from tools.vectors.samples import (
    SENDER,
    SteadyKey,
    base64_of,
    canonical,
    edited,
    envelope_case,
    parsed,
    resign,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case

ATTACKER: Final = SteadyKey.of(make_key("attacker"))
DS_1_1: Final = "http://www.w3.org/2009/xmldsig11#"
POINT_OCTETS: Final = 65
RSA: Final = (
    "<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent>"
    "</ds:RSAKeyValue></ds:KeyValue>"
)
SUBJECT: Final = "<ds:X509Data><ds:X509SubjectName>CN=420100</ds:X509SubjectName></ds:X509Data>"
ISSUER: Final = (
    "<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>CN=420100</ds:X509IssuerName>"
    "<ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
)
RETRIEVAL: Final = '<ds:RetrievalMethod URI="{}"></ds:RetrievalMethod>'
REFERENCE: Final = f'<d:KeyInfoReference xmlns:d="{DS_1_1}" URI="#x"></d:KeyInfoReference>'
PGP: Final = "<ds:PGPData><ds:PGPKeyID>AAAAAAAAAAA=</ds:PGPKeyID></ds:PGPData>"
SPKI: Final = "<ds:SPKIData><ds:SPKISexp>AAAA</ds:SPKISexp></ds:SPKIData>"

OWN_KEY: Final = (
    "A tool that takes the key from the message accepts every message: whoever signs brings his "
    "key along."
)
POINTER: Final = "Following it may open files and connections, and lets the sender choose the key."


def cases() -> Iterator[Case]:
    """Every case of the family."""
    point = base64_of(SENDER.public.spki[-POINT_OCTETS:])
    certificate = f"<ds:X509Certificate>{_certificate(SENDER)}</ds:X509Certificate>"
    der = f'<d:DEREncodedKeyValue xmlns:d="{DS_1_1}">{base64_of(SENDER.public.spki)}'
    der += "</d:DEREncodedKeyValue>"
    rows = [
        ("empty", "", "that is empty", "为空", OWN_KEY),
        ("name", "<ds:KeyName>420100</ds:KeyName>", "with a KeyName", "含 KeyName", OWN_KEY),
        (
            "value-ec",
            _value(point),
            "with the sender's own public key",
            "含发送方自己的公钥",
            OWN_KEY,
        ),
        ("value-rsa", RSA, "with an RSA key", "含 RSA 公钥", OWN_KEY),
        ("der", der, "with the key in DER", "含 DER 编码的公钥", OWN_KEY),
        (
            "x509-certificate",
            f"<ds:X509Data>{certificate}</ds:X509Data>",
            "with a certificate",
            "含证书",
            OWN_KEY,
        ),
        ("x509-subject", SUBJECT, "with a certificate's subject", "含证书主体名", OWN_KEY),
        (
            "x509-issuer",
            ISSUER,
            "with a certificate's issuer and number",
            "含证书颁发者与序列号",
            OWN_KEY,
        ),
        (
            "retrieval-method",
            RETRIEVAL.format("http://example.invalid/key"),
            "that points to a key on the network",
            "指向网络上的密钥",
            POINTER,
        ),
        (
            "retrieval-method-file",
            RETRIEVAL.format("file:///nowhere/key"),
            "that points to a file",
            "指向本机文件",
            POINTER,
        ),
        ("reference", REFERENCE, "that points to another KeyInfo", "指向另一 KeyInfo", POINTER),
        ("pgp", PGP, "with a PGP key's id", "含 PGP 密钥号", OWN_KEY),
        ("spki", SPKI, "with SPKI data", "含 SPKI 数据", OWN_KEY),
        (
            "management",
            "<ds:MgmtData>x</ds:MgmtData>",
            "with management data",
            "含管理数据",
            OWN_KEY,
        ),
        ("foreign", '<x xmlns="urn:x"></x>', "with a foreign element", "含外来元素", OWN_KEY),
    ]
    for name, inner, what, what_zh, why in rows:
        yield _case(
            name,
            resign(_with(inner)),
            f"A KeyInfo {what}.",
            f"KeyInfo {what_zh}。",
            why,
        )
    before = f"<ds:KeyInfo>{_value(point)}</ds:KeyInfo>"
    yield _case(
        "before-value",
        resign(edited(("<ds:SignatureValue>", f"{before}<ds:SignatureValue>"))),
        "A KeyInfo before the SignatureValue.",
        "KeyInfo 位于 SignatureValue 之前。",
        OWN_KEY,
    )
    yield _case(
        "in-header",
        resign(edited(("</Header>", f'<ds:KeyInfo xmlns:ds="{DS}"></ds:KeyInfo></Header>'))),
        "A KeyInfo in the header, and signed.",
        "首部中有 KeyInfo，且已签名。",
        OWN_KEY,
    )
    theirs = base64_of(ATTACKER.public.spki[-POINT_OCTETS:])
    yield _case(
        "attackers-key",
        resign(_with(_value(theirs)), ATTACKER),
        "Signed by a stranger, whose key the KeyInfo brings along.",
        "由陌生人签名，KeyInfo 携带其公钥。",
        OWN_KEY,
    )
    stranger = f"<ds:X509Certificate>{_certificate(ATTACKER)}</ds:X509Certificate>"
    yield _case(
        "attackers-certificate",
        resign(_with(f"<ds:X509Data>{stranger}</ds:X509Data>"), ATTACKER),
        "Signed by a stranger, whose certificate of his own making the KeyInfo brings along.",
        "由陌生人签名，KeyInfo 携带其自签证书。",
        OWN_KEY,
    )


def _case(name: str, octets: bytes, what: str, what_zh: str, why: str) -> Case:
    return envelope_case(
        "signature",
        f"keyinfo-{name}",
        canonical(parsed(octets)),
        what,
        what_zh,
        why,
        clause="SG-1 SG-15 SG-18",
        reason=Reason.SIGNATURE_PROFILE,
        stage="form",
    )


def _with(inner: str) -> str:
    return edited(("</ds:Signature>", f"<ds:KeyInfo>{inner}</ds:KeyInfo></ds:Signature>"))


def _value(point: str) -> str:
    return (
        f'<ds:KeyValue><d:ECKeyValue xmlns:d="{DS_1_1}">'
        '<d:NamedCurve URI="urn:oid:1.2.840.10045.3.1.7"></d:NamedCurve>'
        f"<d:PublicKey>{point}</d:PublicKey></d:ECKeyValue></ds:KeyValue>"
    )


def _certificate(key: SteadyKey) -> str:
    """A certificate the key makes out to itself, as base64."""
    loaded = load_der_private_key(key.pkcs8(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError(loaded)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "420100")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(loaded.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
        .sign(loaded, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return base64_of(made.public_bytes(Encoding.DER))
