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
from routing.directory import Directory
from routing.directory_document import (
    DIRECTORY_TYPE,
    AuthorityEntry,
    CircleEntry,
    DirectoryPayload,
    KeyEntry,
    NodeEntry,
    RegionEntry,
)
from routing.directory_province import Province, open_province
from routing.directory_roles import (
    FRESHNESS_TYPE,
    REVOCATION_TYPE,
    ROOT_TYPE,
    AnchorEntry,
    FreshnessPayload,
    RevocationPayload,
    RevokedKey,
    Role,
    RoleKey,
    RootPayload,
    TrustAnchor,
)
from routing.payload import Named, digest_of, write_payload
from signing.document import sign_document
from signing.suites import PrivateKey, Suite, private_key_from_entropy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protocol.envelope import Environment
    from signing.keys import KeyUse

ISSUED_MS = 1_700_000_000_000
EXPIRES_MS = ISSUED_MS + 90 * 24 * 3600 * 1000
END_MS = ISSUED_MS + 1000 * 24 * 3600 * 1000
DAY_MS = 24 * 3600 * 1000
FOREVER_MS = 2**52


def make_key(name: str) -> PrivateKey:
    return private_key_from_entropy(Suite.ED25519, name.encode().ljust(48, b"."))


def role_keys(prefix: str, role: str, count: int = 3) -> list[PrivateKey]:
    """The keys of a role: root, directory or freshness."""
    return [make_key(f"{role} {prefix} {number}") for number in range(count)]


def directory_keys(prefix: str) -> list[PrivateKey]:
    """Those that sign a directory here: two of the three."""
    return role_keys(prefix, "directory")[:2]


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
        succeeds=(),
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


def role(threshold: int, keys: Iterable[PrivateKey]) -> Role:
    return Role(threshold=threshold, keys=tuple(key.public.key_id for key in keys))


def root_payload(
    prefix: str,
    *,
    root: Sequence[PrivateKey] = (),
    directory: Sequence[PrivateKey] = (),
    freshness: Sequence[PrivateKey] = (),
    **changes: Any,
) -> RootPayload:
    """A root: two of three keys for root and directory, one for freshness and to revoke."""
    held = {
        "root": root or role_keys(prefix, "root"),
        "directory": directory or role_keys(prefix, "directory"),
        "freshness": freshness or role_keys(prefix, "freshness", 1),
    }
    values: dict[str, Any] = {
        "version": 1,
        "environment": "trial",
        "prefix": prefix,
        "name": f"省{prefix}",
        "issued_ms": ISSUED_MS,
        "expires_ms": FOREVER_MS,
        "keys": tuple(role_key(key) for keys in held.values() for key in keys),
        "root": role(2, held["root"]),
        "directory": role(2, held["directory"]),
        "freshness": role(1, held["freshness"]),
        "revoking": 1,
    }
    return RootPayload(**values | changes)


def role_key(key: PrivateKey) -> RoleKey:
    public = key.public
    return RoleKey(id=public.key_id, suite=public.suite, spki=public.spki, holder="保管人")


def sign_root(payload: RootPayload, *keys: PrivateKey) -> bytes:
    signers = keys or role_keys(payload.prefix, "root")[:2]
    return sign_document(ROOT_TYPE, write_payload(payload), signers)


@cache
def root(prefix: str, environment: Environment = "trial") -> bytes:
    """The first root of a province."""
    return sign_root(root_payload(prefix, environment=environment))


def sign(payload: DirectoryPayload, *keys: PrivateKey) -> bytes:
    signers = keys or directory_keys(payload.prefix)
    return sign_document(DIRECTORY_TYPE, write_payload(payload), signers)


def named(octets: bytes, version: int = 1) -> Named:
    return Named(version=version, digest=digest_of(octets))


def freshness_payload(payload: DirectoryPayload, listed: bytes, **changes: Any) -> FreshnessPayload:
    """A statement of the instant of the directory's issue, which names it and the first root."""
    values: dict[str, Any] = {
        "environment": payload.environment,
        "prefix": payload.prefix,
        "issued_ms": payload.issued_ms,
        "expires_ms": payload.issued_ms + DAY_MS,
        "root": named(root(payload.prefix, payload.environment)),
        "directory": named(listed, payload.version),
        "items": None,
        "revocations": (),
    }
    return FreshnessPayload(**values | changes)


def sign_freshness(payload: FreshnessPayload, *keys: PrivateKey) -> bytes:
    signers = keys or role_keys(payload.prefix, "freshness", 1)
    return sign_document(FRESHNESS_TYPE, write_payload(payload), signers)


def revocation(
    prefix: str, *keys: KeyEntry, signer: PrivateKey | None = None, **changes: Any
) -> bytes:
    values: dict[str, Any] = {
        "environment": "trial",
        "prefix": prefix,
        "issued_ms": ISSUED_MS,
        "ground": "密钥遗失",
        "keys": tuple(RevokedKey(id=key.id, revoked_ms=ISSUED_MS) for key in keys),
        "certificates": (),
    }
    payload = RevocationPayload(**values | changes)
    signers = [signer or directory_keys(prefix)[0]]
    return sign_document(REVOCATION_TYPE, write_payload(payload), signers)


def files_of(payload: DirectoryPayload, *more: bytes, **changes: Any) -> list[bytes]:
    """The set of a province: root, directory, freshness; `changes` are of the latter."""
    directory = sign(payload)
    fresh = sign_freshness(freshness_payload(payload, directory, **changes))
    return [root(payload.prefix, payload.environment), directory, *more, fresh]


def pin(octets: bytes, prefix: str = "42", version: int = 1) -> AnchorEntry:
    """The trust anchor's line about this root."""
    return AnchorEntry(prefix=prefix, name=f"省{prefix}", root=named(octets, version))


def anchor(*prefixes: str) -> TrustAnchor:
    return TrustAnchor(anchors=tuple(pin(root(prefix), prefix) for prefix in prefixes))


def opened(payload: DirectoryPayload, **changes: Any) -> Province:
    first = root(payload.prefix, payload.environment)
    return open_province(files_of(payload, **changes), pin(first, payload.prefix))


def merged(*payloads: DirectoryPayload) -> Directory:
    """The view of these provinces, which never grows too old."""
    return Directory.merge((opened(payload) for payload in payloads), FOREVER_MS)
