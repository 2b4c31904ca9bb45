"""Group signature, families method, digest and reference: other algorithms and other references.

Wherever the algorithm can be followed, the signature is right for it: what is refused is the
choice, not the arithmetic.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from protocol.reasons import Reason
from signing.encodings import raw_from_der
from signing.profile import DIGEST_URI, DS, ENVELOPED, SIGNATURE_URI
from signing.suites import Suite
from tools.vectors.samples import (
    CONTENT,
    DIGEST,
    SENDER,
    TEMPLATE,
    VALUE,
    base64_of,
    canonical,
    edited,
    envelope_case,
    parsed,
    resign,
    signed_info_of,
    without_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

    from tools.vectors.cases import Case

W3: Final = "http://www.w3.org"
ENVELOPED_TRANSFORM: Final = f'<ds:Transform Algorithm="{ENVELOPED}"></ds:Transform>'

CONFUSED: Final = (
    "Whoever lets the message choose the algorithm checks a public key as a secret, or a weak "
    "digest instead of a strong one."
)
ELSEWHERE: Final = (
    "A Reference that does not mean the whole document signs something else than what is read, and "
    "following it may open files and connections."
)


def cases() -> Iterator[Case]:
    """Every case of the families."""
    yield from _methods()
    yield from _digests()
    yield from _references()


def _case(name: str, octets: bytes, what: str, what_zh: str, why: str) -> Case:
    # In the wire form, so that nothing but the algorithm can be refused.
    return envelope_case(
        "signature",
        name,
        canonical(parsed(octets)),
        what,
        what_zh,
        why,
        clause="SG-1",
        reason=Reason.SIGNATURE_PROFILE,
        stage="form",
    )


def _signed_by(text: str, algorithm: str) -> bytes:
    """The text with the value this algorithm gives; the digest is filled in already."""
    info = signed_info_of(text)
    secret = SENDER.public.spki  # what a confused verifier would take for the shared secret
    if "hmac" in algorithm:
        name = "sha1" if algorithm.endswith("sha1") else "sha256"
        value = hmac.new(secret, info, name).digest()
    else:
        hashed: dict[str, hashes.HashAlgorithm] = {
            "sha1": hashes.SHA1(),  # noqa: S303 - to be refused
            "sha384": hashes.SHA384(),
            "sha512": hashes.SHA512(),
        }
        key = load_der_private_key(SENDER.pkcs8(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(key)
        chosen = hashed.get(algorithm.rpartition("-")[2], hashes.SHA256())
        der = key.sign(info, ec.ECDSA(chosen, deterministic_signing=True))
        value = raw_from_der(der)
    return text.replace(VALUE, base64_of(value)).encode()


def _methods() -> Iterator[Case]:
    stated = SIGNATURE_URI[Suite.P256]
    more = f"{W3}/2001/04/xmldsig-more#"
    rows = [
        (
            "hmac-sha256",
            f"{more}hmac-sha256",
            "HMAC with SHA-256, keyed with the public key's octets",
            "HMAC-SHA256，以公钥字节为密钥",
        ),
        (
            "hmac-sha1",
            f"{DS}hmac-sha1",
            "HMAC with SHA-1, keyed with the public key's octets",
            "HMAC-SHA1，以公钥字节为密钥",
        ),
        ("rsa-sha256", f"{more}rsa-sha256", "RSA with SHA-256", "RSA-SHA256"),
        ("rsa-sha1", f"{DS}rsa-sha1", "RSA with SHA-1", "RSA-SHA1"),
        ("dsa-sha1", f"{DS}dsa-sha1", "DSA with SHA-1", "DSA-SHA1"),
        ("ecdsa-sha1", f"{more}ecdsa-sha1", "ECDSA with SHA-1", "ECDSA-SHA1"),
        ("ecdsa-sha384", f"{more}ecdsa-sha384", "ECDSA with SHA-384", "ECDSA-SHA384"),
        ("ecdsa-sha512", f"{more}ecdsa-sha512", "ECDSA with SHA-512", "ECDSA-SHA512"),
        ("eddsa-ed448", f"{W3}/2021/04/xmldsig-more#eddsa-ed448", "Ed448", "Ed448"),
        ("unknown", "urn:example:none", "an algorithm nobody knows", "无人知晓的算法"),
        ("empty", "", "an empty name", "空名称"),
        ("case", stated.upper(), "the right name in capitals", "正确名称的大写形式"),
    ]
    for name, uri, what, what_zh in rows:
        text = edited((stated, uri)).replace(
            DIGEST, base64_of(hashlib.sha256(CONTENT.encode()).digest())
        )
        yield envelope_case(
            "signature",
            f"method-{name}",
            canonical(parsed(_signed_by(text, uri))),
            f"SignatureMethod names {what}.",
            f"SignatureMethod 为{what_zh}。",
            CONFUSED,
            clause="SG-3",
            reason=Reason.SUITE_UNKNOWN,
            stage="form",
        )
    length = "<ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>"
    yield _case(
        "method-truncated",
        resign(edited(("</ds:SignatureMethod>", length))),
        "SignatureMethod says that no bit of the value counts.",
        "SignatureMethod 声明签名值的任何比特都不计。",
        CONFUSED,
    )
    method = f'<ds:SignatureMethod Algorithm="{stated}"></ds:SignatureMethod>'
    for name, new, what, what_zh in (
        ("twice", method * 2, "SignatureMethod twice.", "SignatureMethod 出现两次。"),
        ("missing", "", "No SignatureMethod.", "没有 SignatureMethod。"),
    ):
        yield _case(f"method-{name}", resign(edited((method, new))), what, what_zh, CONFUSED)


def _digests() -> Iterator[Case]:
    stated = DIGEST_URI[Suite.P256]
    rows = [
        ("sha1", f"{DS}sha1", "SHA-1"),
        ("md5", f"{W3}/2001/04/xmldsig-more#md5", "MD5"),
        ("sha224", f"{W3}/2001/04/xmldsig-more#sha224", "SHA-224"),
        ("sha384", f"{W3}/2001/04/xmldsig-more#sha384", "SHA-384"),
        ("sha512", f"{W3}/2001/04/xmlenc#sha512", "SHA-512"),
        ("sha3_256", f"{W3}/2007/05/xmldsig-more#sha3-256", "SHA3-256"),
        ("sm3", DIGEST_URI[Suite.SM2_SM3], "SM3"),
    ]
    for name, uri, said in rows:
        hashed = hashlib.new(name, CONTENT.encode(), usedforsecurity=False).digest()
        text = edited((stated, uri)).replace(DIGEST, base64_of(hashed))
        yield _case(
            f"digest-{name.replace('_', '-')}",
            resign(text),
            f"The content digested with {said}, in the suite ecdsa-p256-sha256.",
            f"套件 ecdsa-p256-sha256 中以 {said} 计算摘要。",
            "A suite is fixed as a whole: a weaker digest would make two contents one message.",
        )
    yield _case(
        "digest-missing",
        resign(edited((f'<ds:DigestMethod Algorithm="{stated}"></ds:DigestMethod>', ""))),
        "No DigestMethod.",
        "没有 DigestMethod。",
        CONFUSED,
    )


def _of_manifest(root: etree._Element, _signature: etree._Element) -> bytes:
    return canonical(next(element for element in root.iter() if element.get("Id") == "x"))


def _references() -> Iterator[Case]:
    whole = ("<Envelope", '<Envelope Id="x"')
    manifest = ("<Parts>", '<Parts Id="x">')
    start = TEMPLATE.index("<ds:Reference")
    end = TEMPLATE.index("</ds:Reference>") + len("</ds:Reference>")
    reference = TEMPLATE[start:end]
    rows = [
        (
            "id",
            (whole, ('URI=""', 'URI="#x"')),
            "the envelope by its id",
            "以 Id 引用整份报文",
            without_signature,
        ),
        (
            "id-of-manifest",
            (manifest, ('URI=""', 'URI="#x"')),
            "the manifest only; the header is not signed",
            "只引用清单，首部未被签名",
            _of_manifest,
        ),
        (
            "xpointer-root",
            (('URI=""', 'URI="#xpointer(/)"'),),
            "the document as an XPointer",
            "以 XPointer 引用整个文档",
            without_signature,
        ),
        (
            "xpointer-id",
            (whole, ('URI=""', "URI=\"#xpointer(id('x'))\"")),
            "the envelope by id as an XPointer",
            "以 XPointer 和 Id 引用报文",
            without_signature,
        ),
        (
            "fragment-empty",
            (('URI=""', 'URI="#"'),),
            "an empty fragment",
            "空的片段",
            without_signature,
        ),
        (
            "http",
            (('URI=""', 'URI="http://example.invalid/envelope.xml"'),),
            "a document on the network",
            "网络上的文件",
            without_signature,
        ),
        (
            "file",
            (('URI=""', 'URI="file:///nowhere/envelope.xml"'),),
            "a file",
            "本机文件",
            without_signature,
        ),
        (
            "relative",
            (('URI=""', 'URI="envelope.xml"'),),
            "a relative name",
            "相对名称",
            without_signature,
        ),
        (
            "content-id",
            (('URI=""', 'URI="cid:body"'),),
            "a part beside the document",
            "文档之外的部件",
            without_signature,
        ),
        (
            "no-uri",
            ((' URI=""', ""),),
            "nothing: there is no URI",
            "空：没有 URI 属性",
            without_signature,
        ),
        (
            "type",
            ((' URI=""', f' Type="{DS}Manifest" URI=""'),),
            "a manifest, by its Type",
            "以 Type 声明为 Manifest",
            without_signature,
        ),
        (
            "none",
            ((reference, ""),),
            "nothing: there is no Reference",
            "空：没有 Reference",
            without_signature,
        ),
        (
            "twice",
            ((reference, reference * 2),),
            "the document, twice",
            "同一文档，两次",
            without_signature,
        ),
    ]
    for name, edits, what, what_zh, covered in rows:
        yield _case(
            f"reference-{name}",
            resign(edited(*edits), covered=covered),
            f"The Reference means {what}.",
            f"引用方式：{what_zh}。",
            ELSEWHERE,
        )
    root = parsed(edited(manifest))
    manifest_digest = base64_of(hashlib.sha256(_of_manifest(root, root)).digest())
    other = reference.replace('URI=""', 'URI="#x"').replace(ENVELOPED_TRANSFORM, "")
    yield _case(
        "reference-two",
        resign(edited(manifest, (reference, reference + other.replace(DIGEST, manifest_digest)))),
        "A second Reference, to an element by its id.",
        "另有一个引用，以 Id 指向某元素。",
        ELSEWHERE,
    )
    yield _case(
        "reference-manifest",
        resign(
            edited(
                (
                    "</ds:Signature>",
                    f"<ds:Object><ds:Manifest>{reference}</ds:Manifest></ds:Object></ds:Signature>",
                ),
            ),
        ),
        "A Manifest in an Object, whose references nobody has to check.",
        "Object 内有 Manifest，其引用无人必须核对。",
        ELSEWHERE,
    )
