"""Group batch: one signature for many messages, and what is no proof of them."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from protocol.envelope import write_content
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.profile import SIGNATURE_URI, signed_info
from signing.suites import Suite, digest
from tests.messages import XIANGYANG
from tools.vectors import curves
from tools.vectors.batch import batched, envelope_with, leaf_of, sender_key
from tools.vectors.samples import (
    envelope_case,
    key_for,
    message,
)
from tools.vectors.trees import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.vectors.cases import Case


NUMBERS: Final = (
    "Index, size and path decide which tree is meant; a proof that leaves one of them open fits "
    "several."
)
BOUND: Final = (
    "What the signature covers has to say all that a verifier relies on, or a proof made for one "
    "thing serves for another."
)
LEAF: Final = "Leaf and inner node have to differ, or one can be passed off as the other."
SIGNED: Final = "Without a good signature over the root a tree proves nothing."


def cases() -> Iterator[Case]:
    """Every case of the group in which an envelope is refused."""
    yield from _forms()
    yield from _bent()
    yield from _signatures()


def _forms() -> Iterator[Case]:
    """Numbers that do not hold together, refused before any cryptography."""
    key = sender_key()
    good = Batch(key, 2, 6).proof(leaf_of(message(), Suite.P256))
    head, path, signature = good[:9], good[9:-64], good[-64:]

    def headed(index: int, size: int, path: bytes = path) -> bytes:
        return struct.pack(">BII", 1, index, size) + path + signature

    rows = [
        ("size-0", headed(0, 0, b""), "a batch of none", "总数为零"),
        ("size-1", headed(0, 1, b""), "a batch of one", "总数为一"),
        ("size-4097", headed(0, 4097, path[:32] * 13), "a batch of 4,097", "总数为 4097"),
        (
            "size-largest",
            headed(0, 2**32 - 1, path[:32] * 32),
            "a batch of 2^32 - 1",
            "总数为 2^32 - 1",
        ),
        ("index-is-size", headed(6, 6), "leaf 6 of 6", "序号等于总数"),
        ("index-largest", headed(2**32 - 1, 6), "leaf 2^32 - 1 of 6", "序号为 2^32 - 1"),
        (
            "path-short",
            head + path[:-32] + signature,
            "a hash missing from its path",
            "路径少一个哈希",
        ),
        (
            "path-long",
            head + path + path[:32] + signature,
            "a hash too many in its path",
            "路径多一个哈希",
        ),
        (
            "path-of-neighbour",
            headed(5, 6),
            "the path of another leaf's length",
            "路径长度属于另一叶",
        ),
        ("octet-after", good + b"\0", "an octet after the signature", "签名之后多一字节"),
        ("octet-missing", good[:-1], "the last octet missing", "缺最后一字节"),
        ("head-only", head, "nothing after its numbers", "数字之后空无一物"),
        ("form-2", b"\2" + good[1:], "another form", "未知形式"),
        (
            "form-0",
            b"\0" + key.sign(leaf_of(message(), Suite.P256)),
            "a single signature in a receipt's form",
            "回执形式的单独签名",
        ),
        (
            "bare-signature",
            key.sign(leaf_of(message(), Suite.P256)),
            "a bare signature over the SignedInfo",
            "直接对 SignedInfo 的签名",
        ),
        ("empty", b"", "nothing at all", "为空"),
    ]
    for name, value, what, what_zh in rows:
        yield envelope_case(
            "batch",
            f"form-{name}",
            envelope_with(value, message(), Suite.P256),
            f"A batch's SignatureMethod, and as value {what}.",
            f"批量签名方法之下取值有误：{what_zh}。",
            NUMBERS,
            clause="BP-3 BP-4",
            reason=Reason.BATCH_PROOF,
            stage="form",
        )
    yield envelope_case(
        "batch",
        "form-under-single-method",
        envelope_with(good, message(), Suite.P256, uri=SIGNATURE_URI[Suite.P256]),
        "A batch proof under the SignatureMethod of single signatures.",
        "单独签名方法之下的批量证明。",
        NUMBERS,
        clause="BP-4 SG-1",
        reason=Reason.SIGNATURE_PROFILE,
        stage="form",
    )


def _bent() -> Iterator[Case]:
    """Batches that are good in themselves, but not for this message."""
    key = sender_key()
    good = Batch(key, 2, 6)
    other = key_for(KeyUse.ENVELOPE, XIANGYANG)
    rows = [
        (
            "purpose-receipt",
            replace(good, purpose="receipt"),
            "a batch of receipts",
            "回执批量",
            BOUND,
        ),
        ("purpose-ping", replace(good, purpose="ping"), "a batch of pings", "连通测试批量", BOUND),
        (
            "purpose-empty",
            replace(good, purpose=""),
            "a batch for no purpose",
            "没有用途的批量",
            BOUND,
        ),
        (
            "suite",
            replace(good, suite="ed25519"),
            "a batch that names another suite",
            "写有另一套件的批量",
            BOUND,
        ),
        (
            "key-id",
            replace(good, key_id=other.public.key_id),
            "a batch that names another key",
            "写有另一密钥号的批量",
            BOUND,
        ),
        (
            "domain",
            replace(good, domain=b"TONGBAN-BATCH-2\x00"),
            "a batch of another domain",
            "另一域的批量",
            BOUND,
        ),
        ("domain-none", replace(good, domain=b""), "a batch without domain", "没有域的批量", BOUND),
        (
            "domain-of-log",
            replace(good, domain=b"TONGBAN-LOG-1\x00"),
            "a head of the evidence log",
            "存证日志的树头",
            BOUND,
        ),
        (
            "leaf-mark",
            replace(good, leaf_mark=b""),
            "a tree whose leaves have no mark",
            "叶无前缀的树",
            LEAF,
        ),
        (
            "node-mark",
            replace(good, node_mark=b""),
            "a tree whose inner nodes have no mark",
            "内部节点无前缀的树",
            LEAF,
        ),
        (
            "marks-alike",
            replace(good, node_mark=b"\0"),
            "a tree whose leaves and nodes are marked alike",
            "叶与节点前缀相同的树",
            LEAF,
        ),
        (
            "digest",
            replace(good, hashed=Suite.SM2_SM3),
            "a tree hashed with SM3 in a suite of SHA-256",
            "SHA-256 套件中以 SM3 计算的树",
            BOUND,
        ),
        (
            "by-another-key",
            replace(good, key=other, key_id=key.public.key_id),
            "a batch another authority signed in the key's name",
            "另一机关冒名签署的批量",
            SIGNED,
        ),
        (
            "by-another-authority",
            replace(good, key=other),
            "another authority's batch that holds this leaf",
            "含有此叶的另一机关批量",
            SIGNED,
        ),
    ]
    for name, batch, what, what_zh, why in rows:
        yield _invalid(
            name, batched(batch), f"The proof is from {what}.", f"证明取自{what_zh}。", why
        )
    leaf = leaf_of(message(), Suite.P256)
    alone = signed_info(Suite.P256, digest(Suite.P256, write_content(message())))
    proof = good.proof(leaf)
    swapped = struct.pack(">BII", 1, 3, 6) + proof[9:]
    larger = struct.pack(">BII", 1, 2, 7) + proof[9:]
    flipped = proof[:9] + bytes([proof[9] ^ 1]) + proof[10:]
    reversed_path = proof[:9] + proof[41:73] + proof[9:41] + proof[73:]
    more = [
        (
            "leaf-single-info",
            good.proof(alone),
            "the leaf is the SignedInfo of a single signature",
            "叶为单独签名的 SignedInfo",
        ),
        (
            "leaf-content",
            good.proof(write_content(message())),
            "the leaf is the content",
            "叶为报文内容",
        ),
        (
            "leaf-digest",
            good.proof(digest(Suite.P256, leaf)),
            "the leaf is a digest of the SignedInfo",
            "叶为 SignedInfo 的摘要",
        ),
        (
            "leaf-of-another",
            good.proof(leaf_of(message(number=2), Suite.P256)),
            "the leaf is another message's",
            "叶属于另一报文",
        ),
        ("index-of-neighbour", swapped, "the index is the neighbour's", "序号为相邻叶"),
        ("size-other", larger, "the size is another than was signed", "总数与所签不符"),
        ("path-bit", flipped, "a bit of the path is flipped", "路径中一比特翻转"),
        ("path-order", reversed_path, "the path is in another order", "路径次序颠倒"),
    ]
    for name, value, what, what_zh in more:
        octets = envelope_with(value, message(), Suite.P256)
        yield _invalid(name, octets, f"In the proof {what}.", f"证明中{what_zh}。", BOUND)
    yield _invalid(
        "root-alone",
        envelope_with(proof[:-64] + key.sign(good.signed(leaf)[-32:]), message(), Suite.P256),
        "The signature is over the bare root.",
        "只对树根签名。",
        BOUND,
    )


def _signatures() -> Iterator[Case]:
    leaf = leaf_of(message(), Suite.P256)
    good = Batch(sender_key(), 2, 6).proof(leaf)
    zeroed = envelope_with(good[:-64] + bytes(64), message(), Suite.P256)
    yield _invalid(
        "signature-zero",
        zeroed,
        "The signature of the root is all zeros.",
        "树根签名全为零。",
        SIGNED,
    )
    yield envelope_case(
        "batch",
        "signature-zero-after-good",
        zeroed,
        "The same, after a message of that very batch was verified: first.xml, then envelope.xml, "
        "by a verifier that remembers roots.",
        "同上，但先已核验同一批量的报文：核验者记住树根，先 first.xml，后 envelope.xml。",
        "A memory of verified roots keyed by the root alone takes a proof with any signature.",
        clause="BP-5",
        reason=Reason.SIGNATURE_INVALID,
        stage="signature",
        more_files={"first.xml": envelope_with(good, message(), Suite.P256)},
    )
    mirrored = (curves.P256_ORDER - int.from_bytes(good[-32:])).to_bytes(32)
    yield envelope_case(
        "batch",
        "signature-other-s",
        envelope_with(good[:-32] + mirrored, message(), Suite.P256),
        "The same batch under the other value that fits: n - s for s.",
        "同一批量的另一有效签名值：以 n - s 代 s。",
        "The memory of roots is keyed by the signature as well; another good one is good.",
        clause="BP-5",
        more_files={"first.xml": envelope_with(good, message(), Suite.P256)},
    )


def _invalid(name: str, octets: bytes, what: str, what_zh: str, why: str) -> Case:
    return envelope_case(
        "batch",
        name,
        octets,
        what,
        what_zh,
        why,
        clause="BP-1 BP-2",
        reason=Reason.SIGNATURE_INVALID,
        stage="signature",
    )
