"""The closed list of reasons: why a message was refused, or why it has to wait.

Every reason has a wire number (u16, never reused), a code, the clause it comes from, what it means
and what to do about it, in Chinese and English. `final` reasons travel in signed refusals;
the others are transient, travel in `busy` and `not-here` frames, and never end a message.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Reason(Enum):
    """One row of the list: (number, code, final, clause, 中文, English, 处理办法, remedy)."""

    def __init__(
        self,
        number: int,
        code: str,
        final: bool,  # noqa: FBT001
        clause: str,
        chinese: str,
        english: str,
        chinese_remedy: str,
        remedy: str,
    ) -> None:
        self.number: Final = number
        self.code: Final = code
        self.final: Final = final
        self.clause: Final = clause
        self.chinese: Final = chinese
        self.english: Final = english
        self.chinese_remedy: Final = chinese_remedy
        self.remedy: Final = remedy

    # fmt: off
    # The wire form (WF) and the envelope (EN).
    TOO_LARGE = (
        10, "too-large", True, "LI-1",
        "超过大小限制", "larger than the limit",
        "拆分或压缩后重新提交", "send less in one message; docs list the limits",
    )
    NOT_CANONICAL = (
        11, "not-canonical", True, "WF-1",
        "不是规范化的线上格式", "the octets are not the canonical wire form",
        "按独占规范化(exc-c14n)输出,不带声明、注释、处理指令、DOCTYPE",
        "write exclusive c14n without declaration, comments, PIs or DOCTYPE",
    )
    NOT_WELL_FORMED = (
        12, "not-well-formed", True, "WF-2",
        "不是格式良好的 XML", "not well-formed XML in UTF-8",
        "修正发送系统的输出", "mend the writer",
    )
    SCHEMA_INVALID = (
        13, "schema-invalid", True, "EN-1",
        "不符合报文结构", "does not follow the schema",
        "对照 schemas/ 中的 XSD 修正", "compare with the XSD in schemas/",
    )
    KIND_UNKNOWN = (
        14, "kind-unknown", True, "EN-2",
        "报文种类未知", "unknown kind of message",
        "升级节点,或使用已公布的种类", "use a published kind, or upgrade the receiving node",
    )
    ENVIRONMENT_MISMATCH = (
        15, "environment-mismatch", True, "EN-3",
        "试运行与正式环境不符", "trial and production do not mix",
        "检查配置中的 environment", "check `environment` in the configuration of both nodes",
    )
    EXPIRED = (
        16, "expired", True, "EX-9",
        "报文已过有效期", "the message arrived after it expired",
        "重新提交一份新的报文", "submit it again as a new message",
    )
    LIFETIME_INVALID = (
        17, "lifetime-invalid", True, "EN-4",
        "有效期不合法", "expires before it is created, or lives longer than allowed",
        "有效期为 1 分钟至 90 天", "let it live between one minute and 90 days",
    )
    # The signature (SG).
    SIGNATURE_PROFILE = (
        30, "signature-profile", True, "SG-1",
        "签名不符合固定模板", "the signature deviates from the fixed template",
        "按签名模板生成,不加 KeyInfo 与其他变换",
        "follow the template: one Reference, two transforms, no KeyInfo",
    )
    SIGNATURE_MISSING = (
        31, "signature-missing", True, "SG-2",
        "没有签名", "no signature",
        "签名后再发送", "sign before sending",
    )
    SUITE_UNKNOWN = (
        32, "suite-unknown", True, "SG-3",
        "签名算法套件未登记", "unknown suite",
        "使用 sm2-sm3、ecdsa-p256-sha256 或 ed25519", "use sm2-sm3, ecdsa-p256-sha256 or ed25519",
    )
    SUITE_MISMATCH = (
        33, "suite-mismatch", True, "SG-4",
        "签名算法与登记的密钥不符", "the suite is not the one the key is registered for",
        "使用与密钥一致的套件", "sign with the key's registered suite",
    )
    KEY_MALFORMED = (
        34, "key-malformed", True, "SG-5",
        "密钥格式不正确", "the key is malformed or not in its one canonical encoding",
        "重新导出密钥", "export the key again",
    )
    KEY_USE = (
        35, "key-use", True, "SG-6",
        "密钥用途不符", "the key is registered for another use",
        "一钥一用:换用登记为该用途的密钥",
        "one key, one use: sign with the key registered for this",
    )
    KEY_OWNER = (
        36, "key-owner", True, "SG-7",
        "密钥不属于发送机关",
        "the key does not belong to the sending authority, or is not delegated to its node",
        "核对节点目录中的密钥归属", "check the key's owner and node in the directory",
    )
    KEY_REVOKED = (
        37, "key-revoked", True, "SG-8",
        "密钥已吊销或不在有效期", "the key is revoked or outside its validity",
        "换用有效密钥", "sign with a valid key",
    )
    DIGEST_MISMATCH = (
        38, "digest-mismatch", True, "SG-9",
        "摘要与内容不符", "the signed digest is not the digest of the content",
        "内容在签名后被改动,重新签名", "the content changed after it was signed; sign it again",
    )
    SIGNATURE_INVALID = (
        39, "signature-invalid", True, "SG-10",
        "签名无效", "the signature does not verify",
        "核对签名密钥与登记密钥", "check that the signing key is the registered one",
    )
    DOCUMENT_SIGNATURE = (
        40, "document-signature", True, "DI-1",
        "文件缺少可信签名", "not signed by a key this trust anchor accepts",
        "核对信任锚", "check the trust anchor, or get the document from its publisher",
    )
    DOCUMENT_INVALID = (
        41, "document-invalid", True, "DI-2",
        "已签名文件内容不合法", "the signed document breaks its own rules",
        "由发布者修正后重新签发", "its publisher has to mend and sign it again",
    )
    EVIDENCE_INVALID = (
        42, "evidence-invalid", True, "EV-1",
        "存证文件不一致", "the evidence file does not hold together",
        "向导出节点重新索取", "ask the exporting node for the file again",
    )
    BATCH_PROOF = (
        43, "batch-proof", True, "BP-3",
        "批量签名证明不合法", "the batch proof is malformed, or not as long as its numbers say",
        "按批量证明的固定格式生成,或逐份签名",
        "write the proof in its fixed layout, or sign the message alone",
    )
    STAMP_INVALID = (
        44, "stamp-invalid", True, "TS-2",
        "时间戳不合法", "the time stamp is malformed, of another head, or not by a known authority",
        "核对时间戳机构的根证书,或重新申请时间戳",
        "check the certificates of the time-stamping authority, or have it stamped again",
    )
    # Parts (PA).
    PART_MISSING = (
        50, "part-missing", False, "PA-1",
        "缺少部件", "a part named in the manifest did not arrive",
        "重新发送该部件", "send the part again",
    )
    PART_MISMATCH = (
        51, "part-mismatch", False, "PA-2",
        "部件与摘要不符", "a part does not match its digest",
        "重新发送该部件", "send the part again",
    )
    PART_UNEXPECTED = (
        52, "part-unexpected", False, "PA-3",
        "部件或其内容超出清单所列", "a part, or octets of one, that the manifest does not list",
        "只发送清单列明的部件", "send only what the manifest lists",
    )
    PART_QUOTA = (
        54, "part-quota", False, "UP-7",
        "大部件接收配额已满", "no room now for the large parts of this message",
        "等待其他传输完成;稍后自动重试", "it is tried again by itself once other transfers end",
    )
    BODY_INVALID = (
        53, "body-invalid", True, "BO-1",
        "正文不符合其结构", "the body does not follow its schema",
        "对照该种类的 XSD 修正", "compare with the kind's XSD",
    )
    # Exchange (EX).
    FRAME_MALFORMED = (
        60, "frame-malformed", True, "EX-1",
        "帧格式错误", "malformed frame",
        "检查承载层实现", "check the carrier's framing",
    )
    PEER_NOT_FORWARDER = (
        61, "peer-not-forwarder", False, "EX-2",
        "对端无权代转该节点的报文", "this peer is not listed to present messages of that node",
        "核对节点目录中的代转范围", "check what the peer forwards for in the directory",
    )
    MESSAGE_ID_REUSED = (
        62, "message-id-reused", True, "EX-5",
        "报文号已用于另一内容", "the message id was used before for other content",
        "使用新的报文号", "use a fresh message id",
    )
    SEQUENCE_USED = (
        63, "sequence-used", True, "EX-7",
        "序号已被使用", "the sequence number was consumed before",
        "使用下一个序号", "use the next number of this case",
    )
    NOT_FOR_US = (
        64, "not-for-us", False, "RT-1",
        "本节点不服务也不代转该目的地", "this node neither serves nor forwards for the destination",
        "更新节点目录后重新选路", "synchronise the directory and plan the route again",
    )
    LOOP = (
        65, "loop", False, "RT-3",
        "路径成环", "the path already contains this node",
        "选择其他路径", "take another route",
    )
    PATH_TOO_LONG = (
        66, "path-too-long", False, "RT-4",
        "路径过长", "more hops than allowed",
        "选择其他路径", "take another route",
    )
    NO_ROUTE = (
        67, "no-route", False, "RT-2",
        "没有可用路径", "no route to the destination",
        "检查节点目录与链路", "check the directory and the links",
    )
    RECEIPT_INVALID = (
        68, "receipt-invalid", True, "RC-1",
        "回执无效", "the receipt is malformed, or not by a key of the node it names",
        "核对回执签发节点的密钥", "check the issuing node's receipt key in the directory",
    )
    RECEIPT_UNKNOWN = (
        69, "receipt-unknown", False, "RC-2",
        "没有对应的报文", "a receipt for a message this node never sent",
        "忽略", "nothing to do; the peer may drop it",
    )
    AUTHORITY_NOT_HERE = (
        70, "authority-not-here", True, "RT-5",
        "本节点不服务该机关", "the addressed authority is not served by the addressed node",
        "核对节点目录", "check the authority's node in the directory",
    )
    AUTHORITY_CLOSED = (
        71, "authority-closed", True, "DI-16",
        "该机关已由其他机关承继", "another authority stands in the place of this one now",
        "向承继机关提交;在办案件由承继机关继续",
        "submit to its successor; cases in flight go on with the successor",
    )
    # The case (CA) and the catalogue (CT).
    ITEM_UNKNOWN = (
        80, "item-unknown", True, "CT-1",
        "事项不在目录中", "no such service item in the catalogue",
        "核对事项编码或同步事项目录", "check the item's code, or synchronise the catalogue",
    )
    ITEM_NOT_SERVED = (
        81, "item-not-served", True, "CT-2",
        "该机关不办理此事项", "the authority does not implement this item now",
        "查询事项目录,改送负责的机关", "look up the responsible authority and submit there",
    )
    POWER_LACKING = (
        82, "power-lacking", True, "CA-2",
        "没有相应权责", "the sender does not hold the power this step needs",
        "由有权机关办理", "the authority that holds the power has to act",
    )
    WRONG_STATE = (
        83, "wrong-state", True, "CA-1",
        "当前状态不允许此操作", "the case is in a state that does not allow this step",
        "先查看办件当前状态", "look at the case's present state first",
    )
    CASE_UNKNOWN = (
        84, "case-unknown", True, "CA-3",
        "办件不存在", "no such case here",
        "核对办件号", "check the case id",
    )
    MESSAGE_UNKNOWN = (
        87, "message-unknown", True, "CA-4",
        "报文不存在", "no such message here",
        "核对报文号", "check the message id",
    )
    BASIS_MISMATCH = (
        85, "basis-mismatch", True, "CT-3",
        "管辖依据与机关不符", "the stated jurisdiction does not lead to this authority",
        "重新确认管辖依据", "answer the jurisdiction question again",
    )
    ROUTE_AMBIGUOUS = (
        86, "route-ambiguous", True, "CT-4",
        "负责机关不唯一", "more than one authority could be responsible",
        "回答管辖问题后再提交", "answer the question shown and submit again",
    )
    CASE_ID_INVALID = (
        88, "case-id-invalid", True, "CA-5",
        "办件号与开案机关、报文号不符",
        "the case id does not follow from the opening authority and message id",
        "由收件节点按规则生成办件号",
        "derive the id of a new case from its opener and its first message id",
    )
    # The evidence log (LG).
    HEAD_INVALID = (
        90, "head-invalid", True, "LG-6",
        "日志头无效", "the log head is malformed, or not by a head key of the node that shows it",
        "核对该节点的日志头密钥", "check the node's head key in the directory",
    )
    LOG_BROKEN = (
        91, "log-broken", True, "LG-14",
        "存证日志不一致", "the evidence log does not hold together",
        "停止写入，保全数据库，与备份及对端所存日志头比对",
        "keep the store as it is; compare it with a backup and with the heads peers hold",
    )
    LEAF_UNKNOWN = (
        92, "leaf-unknown", True, "LG-12",
        "存证日志中没有此摘要", "no leaf of this node's log has this digest",
        "核对摘要与所问节点", "check the digest, and that this is the node to ask",
    )
    LOG_PENDING = (
        93, "log-pending", False, "LG-4",
        "尚未编入存证日志", "recorded, and not under a signed head yet",
        "稍候再取", "ask again in a minute",
    )
    STILL_NEEDED = (
        94, "still-needed", True, "EV-24",
        "内容尚需留存,不能删除", "something still needs these contents",
        "待送达、办结、签收满 35 天且收件箱处理完毕后再删除",
        "erase them once the message is settled for 35 days, its case over, its inbox entry done",
    )
    # Transient causes that are nobody's fault (TR).
    KEY_UNKNOWN = (
        100, "key-unknown", False, "TR-1",
        "密钥不在本节点的目录中", "the key is not in this node's directory",
        "同步节点目录", "synchronise the directory; the message waits",
    )
    CLOCK_SKEW = (
        101, "clock-skew", False, "TR-2",
        "两端时钟不一致", "created in the future: one of the two clocks is wrong",
        "校准时钟", "set the clocks; the message waits",
    )
    OVERLOADED = (
        102, "overloaded", False, "TR-3",
        "节点繁忙", "too much at once",
        "稍后自动重试", "it is tried again by itself",
    )
    STORE_UNAVAILABLE = (
        103, "store-unavailable", False, "TR-4",
        "存储暂不可用", "the store cannot take it now",
        "检查磁盘空间与存储", "check the disk; nothing was acknowledged",
    )
    SUITE_UNAVAILABLE = (
        104, "suite-unavailable", False, "TR-5",
        "本机缺少该算法实现", "this machine has no provider of the suite",
        "安装 OpenSSL 3 或 tongsuopy", "install OpenSSL 3 with SM2, or tongsuopy",
    )
    STALE_DIRECTORY = (
        105, "stale-directory", False, "TR-6",
        "节点目录过期", "this node's directory is too old to decide",
        "同步节点目录", "synchronise the directory; the message waits",
    )
    PEER_UNREACHABLE = (
        106, "peer-unreachable", False, "TR-7",
        "对端无法连接", "the peer cannot be reached",
        "检查网络与对端节点", "check the network and the peer; it is tried again by itself",
    )
    TSA_UNREACHABLE = (
        109, "tsa-unreachable", False, "TS-4",
        "时间戳机构无法连接", "the time-stamping authority does not answer",
        "检查 [stamps] 的地址与网络;办件不受影响",
        "check the address in [stamps] and the network; cases go on meanwhile",
    )
    RECEIPT_MISSING = (
        107, "receipt-missing", False, "EV-6",
        "目的地尚未回执", "its destination has not answered yet",
        "等待回执后再导出", "export it again once the destination has answered",
    )
    RECOVERING = (
        108, "recovering", False, "RV-4",
        "节点正在从旧备份恢复", "gathering what was lost since a backup",
        "稍候自动重试", "it is tried again by itself; operators: `health` says who is waited for",
    )
    # fmt: on

    @classmethod
    def from_number(cls, number: int) -> Reason | None:
        """The reason with this wire number, or None when the list has no such number."""
        return _BY_NUMBER.get(number)


INTRINSIC: Final = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.NOT_CANONICAL,
        Reason.NOT_WELL_FORMED,
        Reason.SCHEMA_INVALID,
        Reason.LIFETIME_INVALID,
        Reason.SIGNATURE_MISSING,
        Reason.SIGNATURE_PROFILE,
        Reason.BATCH_PROOF,
        Reason.DIGEST_MISMATCH,
        Reason.SIGNATURE_INVALID,
    }
)
"""Reasons that follow from the octets alone: no upgrade, directory or clock will change them."""

_BY_NUMBER: Final = {reason.number: reason for reason in Reason}
