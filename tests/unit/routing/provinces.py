"""Small provinces to route in: sensible values, signed by a key made from the prefix."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from protocol.identifiers import uscc_check
from routing.directory import (
    DIRECTORY_TYPE,
    AnchorEntry,
    AuthorityEntry,
    CircleEntry,
    Directory,
    DirectoryDocument,
    DirectoryPayload,
    KeyEntry,
    NodeEntry,
    PinnedKey,
    RegionEntry,
    TrustAnchor,
    open_directory,
)
from routing.payload import write_payload
from signing.document import sign_document
from signing.suites import PrivateKey, Suite, private_key_from_entropy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from signing.keys import KeyUse

ISSUED_MS = 1_700_000_000_000
EXPIRES_MS = ISSUED_MS + 90 * 24 * 3600 * 1000
END_MS = ISSUED_MS + 1000 * 24 * 3600 * 1000


def make_key(name: str) -> PrivateKey:
    return private_key_from_entropy(Suite.ED25519, name.encode().ljust(48, b"."))


def root_key(prefix: str) -> PrivateKey:
    return make_key(f"root {prefix}")


def uscc(region: str, number: int = 0) -> str:
    body = f"11{region}TB{number:07d}"
    return body + uscc_check(body)


@cache
def certificate_of(node_id: str) -> bytes:
    """A self-signed certificate that names the node; the same every time."""
    key = Ed25519PrivateKey.from_private_bytes(node_id.encode().ljust(32, b"."))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])
    began = dt.datetime(2023, 11, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), int(node_id))
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=3653))
    )
    return builder.sign(key, None).public_bytes(Encoding.DER)


def node(node_id: str, **changes: Any) -> NodeEntry:
    values: dict[str, Any] = {
        "id": node_id,
        "name": f"节点{node_id}",
        "role": "node",
        "operator": uscc(node_id),
        "url": f"https://127.0.0.1:{10_000 + int(node_id) % 50_000}",
        "certificate": certificate_of(node_id),
        "serves": (node_id,),
        "forwards_for": (),
    }
    return NodeEntry(**values | changes)


def hub(node_id: str, *forwards_for: str, **changes: Any) -> NodeEntry:
    return node(node_id, role="hub", forwards_for=forwards_for or (node_id[:2],), **changes)


def authority(
    region: str, number: int = 0, *, node_id: str | None = None, zone: str | None = None
) -> AuthorityEntry:
    return AuthorityEntry(
        uscc=uscc(region, number),
        name=f"机关{region}-{number}",
        region=region,
        zone=zone,
        node=node_id or region,
        telephone="000-0000-0000",
    )


def parent_of(code: str) -> str | None:
    if code.endswith("0000"):
        return None
    return code[:2] + "0000" if code.endswith("00") or code[2] == "9" else code[:4] + "00"


def key_entry(
    name: str,
    use: KeyUse,
    owner: str,
    node_id: str,
    **changes: Any,
) -> KeyEntry:
    public = make_key(name).public
    values: dict[str, Any] = {
        "id": public.key_id,
        "suite": public.suite,
        "spki": public.spki,
        "use": use,
        "owner": owner,
        "node": node_id,
        "not_before_ms": ISSUED_MS,
        "not_after_ms": END_MS,
        "revoked_ms": None,
    }
    return KeyEntry(**values | changes)


def province(
    prefix: str,
    nodes: Iterable[NodeEntry] = (),
    *,
    more_regions: Iterable[str] = (),
    more_authorities: Iterable[AuthorityEntry] = (),
    circles: Mapping[str, tuple[str, ...]] | None = None,
    keys: Iterable[KeyEntry] = (),
    links: Iterable[tuple[str, str]] = (),
    **changes: Any,
) -> DirectoryPayload:
    """A payload: each node serves its own region, and its operator is that region's authority 0."""
    held = tuple(nodes)
    codes = {f"{prefix}0000", *more_regions, *(row.id for row in held)}
    codes |= {code for row in held for code in row.serves}
    codes |= {parent for code in codes if (parent := parent_of(code))}
    values: dict[str, Any] = {
        "version": 1,
        "environment": "trial",
        "prefix": prefix,
        "name": f"省{prefix}",
        "issued_ms": ISSUED_MS,
        "expires_ms": EXPIRES_MS,
        "regions": tuple(
            RegionEntry(code=code, name=f"地区{code}", parent=parent_of(code))
            for code in sorted(codes)
        ),
        "circles": tuple(
            CircleEntry(name=name, regions=regions) for name, regions in (circles or {}).items()
        ),
        "authorities": (*(authority(row.id) for row in held), *more_authorities),
        "nodes": held,
        "keys": tuple(keys),
        "links": tuple(links),
    }
    return DirectoryPayload(**values | changes)


def sign(payload: DirectoryPayload, key: PrivateKey | None = None) -> bytes:
    octets = write_payload(payload)
    return sign_document(DIRECTORY_TYPE, octets, [key or root_key(payload.prefix)])


def anchor(*prefixes: str) -> TrustAnchor:
    return TrustAnchor(
        anchors=tuple(
            AnchorEntry(
                prefix=prefix,
                name=f"省{prefix}",
                keys=(PinnedKey(suite=Suite.ED25519, spki=root_key(prefix).public.spki),),
            )
            for prefix in prefixes
        )
    )


def opened(payload: DirectoryPayload) -> DirectoryDocument:
    return open_directory(sign(payload), anchor(payload.prefix))


def merged(*payloads: DirectoryPayload) -> Directory:
    return Directory.merge(opened(payload) for payload in payloads)
