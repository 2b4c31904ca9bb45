"""Group envelope: header and manifest, signed as they stand; only the named rule is broken."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from protocol.envelope import ENVELOPE_NAMESPACE
from protocol.instants import format_instant
from protocol.limits import MAX_CLOCK_SKEW_MS, MAX_LIFETIME_MS, MIN_LIFETIME_MS
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import (
    DAY_MS,
    NOW_MS,
    SCAN,
    WUHAN,
    message_id,
    sign_envelope,
    signed_by_sender,
)
from tools.vectors.samples import (
    BODY,
    edited,
    envelope_case,
    key_for,
    keys,
    message,
    record_for,
    resign,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protocol.envelope import Environment
    from signing.trust import KeyRecord
    from tools.vectors.cases import Case, Json, Stage

SCHEMA: Final = "What the schema does not know, two readers may understand in two ways."
MISSING: Final = "A reader would have to guess what was left out."
ONE_VALUE: Final = "A value has one written form, or equal values would have different octets."


def cases() -> Iterator[Case]:
    """Every case of the group."""
    yield from _valid()
    yield from _structure()
    yield from _kinds_and_environments()


def good(
    name: str,
    octets: bytes,
    what: str,
    what_zh: str,
    why: str,
    *,
    clause: str = "EN-1",
    records: Sequence[KeyRecord] | None = None,
    now_ms: int = NOW_MS,
    environment: Environment = "trial",
    **result: Json,
) -> Case:
    """A valid case of this group."""
    return envelope_case(
        "envelope",
        name,
        octets,
        what,
        what_zh,
        why,
        clause=clause,
        records=records,
        now_ms=now_ms,
        environment=environment,
        result=result,
    )


def refused(
    name: str,
    *edits: tuple[str, str],
    what: str,
    what_zh: str,
    why: str = SCHEMA,
    reason: Reason = Reason.SCHEMA_INVALID,
    clause: str = "EN-1",
    stage: Stage = "form",
    now_ms: int = NOW_MS,
) -> Case:
    """The good envelope with these edits, signed for what it then says."""
    return envelope_case(
        "envelope",
        name,
        resign(edited(*edits)),
        what,
        what_zh,
        why,
        clause=clause,
        reason=reason,
        stage=stage,
        now_ms=now_ms,
    )


def _signed(suite: Suite = Suite.P256, **changes: Any) -> bytes:  # noqa: ANN401 - header fields
    return signed_by_sender(message(suite, **changes), keys(suite))


def _valid() -> Iterator[Case]:
    yield good(
        "complete",
        _signed(),
        "A header with everything it may have.",
        "首部各项俱全的报文。",
        "A verifier that knows only the common case would fail here.",
        kind="case.submit",
        messageId=message_id(1),
    )
    yield good(
        "smallest",
        _signed(parts={"body": BODY}, in_reply_to=None, trace=None),
        "A header with only what it must have, and a body alone.",
        "首部仅有必备项，只有正文一个部件。",
        "InReplyTo, Trace and materials are optional.",
    )
    ping_key = key_for(KeyUse.PING, WUHAN)
    sender = replace(message().header.sender, key=ping_key.public.key_id)
    ping = message(kind="ping", case=None, sender=sender, parts={"body": BODY})
    yield good(
        "ping",
        sign_envelope(ping, ping_key),
        "A ping: no Case, and the node's key for pings.",
        "连通测试：没有 Case，用节点的 ping 密钥。",
        "What belongs to no case names none.",
        clause="EN-10",
        records=[record_for(ping_key)],
        kind="ping",
    )
    many = {"body": BODY} | {f"m{number}": SCAN for number in range(1, 128)}
    yield good(
        "parts-128",
        _signed(parts=many),
        "A manifest of 128 parts, the most there may be.",
        "清单列有 128 个部件，即上限。",
        "The bound itself is allowed.",
        clause="LI-3",
    )
    ampersand = message()
    row = replace(ampersand.parts[1], media_type="application/a&b")
    yield good(
        "ampersand",
        signed_by_sender(replace(ampersand, parts=(ampersand.parts[0], row)), keys()),
        "An attribute with an ampersand, written as canonical XML does.",
        "属性值含 &，按规范化 XML 转义。",
        "Whoever writes the envelope again to compare it has to escape as canonical XML does.",
        clause="WF-6",
    )
    for name, lifetime_ms, text, text_zh in (
        ("lifetime-shortest", MIN_LIFETIME_MS, "one minute", "一分钟"),
        ("lifetime-longest", MAX_LIFETIME_MS, "90 days", "90 天"),
    ):
        yield good(
            name,
            _signed(expires_ms=NOW_MS + lifetime_ms),
            f"It expires {text} after it was created.",
            f"创建后{text_zh}失效。",
            "The bound itself is allowed.",
            clause="EN-4",
        )
    yield good(
        "expired",
        _signed(),
        "A day after Expires: still authentic, for the receiver has to say so in a receipt.",
        "失效一日之后：仍可验明，收方须据以签发回执。",
        "A verifier that refuses it cannot tell a late message from a forged one.",
        clause="SG-11",
        now_ms=NOW_MS + 31 * DAY_MS,
    )
    yield good(
        "clock-ahead",
        _signed(),
        "Created five minutes ahead of the receiver's clock, the most that is allowed.",
        "创建时刻比收方时钟快五分钟，即上限。",
        "Clocks differ.",
        clause="TR-2",
        now_ms=NOW_MS - MAX_CLOCK_SKEW_MS,
    )
    yield good(
        "production",
        signed_by_sender(replace(message(), environment="production"), keys()),
        "A message of the production environment at a verifier of that environment.",
        "正式环境的报文由正式环境核验。",
        "Trial and production are equals; only mixing them is refused.",
        clause="EN-3",
        environment="production",
    )
    for suite in (Suite.SM2_SM3, Suite.ED25519):
        yield good(
            f"complete-{suite.value}",
            _signed(suite),
            f"The same message in the suite {suite}.",
            f"同一报文，套件 {suite}。",
            "Digests of the manifest follow the sender's suite.",
            records=[record_for(key_for(KeyUse.ENVELOPE, WUHAN, suite))],
            suite=suite.value,
        )


def _structure() -> Iterator[Case]:
    held = message().header
    for name, text in (
        ("MessageId", f"<MessageId>{held.message_id}</MessageId>"),
        ("Kind", "<Kind>case.submit</Kind>"),
        ("Created", f"<Created>{format_instant(held.created_ms)}</Created>"),
        ("Expires", f"<Expires>{format_instant(held.expires_ms)}</Expires>"),
    ):
        yield refused(
            f"no-{name.lower()}",
            (text, ""),
            what=f"The header has no {name}.",
            what_zh=f"首部缺少 {name}。",
            why=MISSING,
        )
        yield refused(
            f"two-{name.lower()}",
            (text, text * 2),
            what=f"The header has {name} twice.",
            what_zh=f"首部有两个 {name}。",
            why="One reader takes the first, another the last.",
        )
    sender = (
        f'<From authority="{held.sender.authority}" key="{held.sender.key}"'
        f' node="{held.sender.node}"></From>'
    )
    recipient = f'<To authority="{held.recipient.authority}" node="{held.recipient.node}"></To>'
    for name, text in (("from", sender), ("to", recipient)):
        yield refused(
            f"no-{name}",
            (text, ""),
            what=f"The header has no {name.title()}.",
            what_zh=f"首部缺少 {name.title()}。",
            why=MISSING,
        )
    yield refused(
        "two-to",
        (recipient, recipient * 2),
        what="The header names two recipients.",
        what_zh="首部有两个收方。",
        why="One node would deliver it here, the next one there.",
    )
    yield refused(
        "order",
        (sender + recipient, recipient + sender),
        what="From and To in the other order.",
        what_zh="From 与 To 次序颠倒。",
        why=ONE_VALUE,
    )
    for name, old, new, what, what_zh in (
        ("element-unknown", "</Header>", "<X></X></Header>", "an element", "元素"),
        (
            "element-foreign",
            "</Header>",
            '<x:X xmlns:x="urn:x"></x:X></Header>',
            "an element of another namespace",
            "其他名字空间的元素",
        ),
        ("attribute-unknown", "<Header>", '<Header x="">', "an attribute", "属性"),
        (
            "attribute-foreign",
            "<Header>",
            '<Header xmlns:x="urn:x" x:x="">',
            "an attribute of another namespace",
            "其他名字空间的属性",
        ),
        ("attribute-xml-lang", "<Kind>", '<Kind xml:lang="zh">', "xml:lang", " xml:lang "),
        (
            "attribute-xml-space",
            "<Kind>",
            '<Kind xml:space="preserve">',
            "xml:space",
            " xml:space ",
        ),
        ("attribute-xml-id", "<Header>", '<Header xml:id="a">', "xml:id", " xml:id "),
        ("attribute-xml-base", "<Header>", '<Header xml:base="a">', "xml:base", " xml:base "),
        (
            "text",
            "</Header><Parts>",
            "</Header>x<Parts>",
            "text between elements",
            "元素之间的文字",
        ),
        (
            "sealing",
            "</Parts>",
            "</Parts><Sealing></Sealing>",
            "an element of a later version",
            "后续版本的元素",
        ),
        ("two-headers", "<Parts>", "<Header></Header><Parts>", "a second Header", "第二个 Header"),
    ):
        yield refused(
            name,
            (old, new),
            what=f"The envelope has {what} the schema does not have.",
            what_zh=f"报文含有结构中没有的{what_zh}。",
        )
    instance = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    for name, old, new in (
        ("xsi-type", "<Kind>", f'<Kind {instance} xsi:type="Kind">'),
        ("xsi-nil", "<Kind>case.submit<", f'<Kind {instance} xsi:nil="true"><'),
        (
            "xsi-schema-location",
            ' environment="trial"',
            f' {instance} environment="trial" xsi:schemaLocation="urn:x http://example.invalid/"',
        ),
    ):
        yield refused(
            name,
            (old, new),
            what=f"The envelope has an attribute {name.replace('-', ':', 1)}.",
            what_zh=f"报文带有 {name.replace('-', ':', 1)} 属性。",
            why="Such attributes are legal everywhere in XML Schema, and steer a validator.",
            clause="EN-1 EN-6",
        )
    yield refused(
        "version-2",
        (ENVELOPE_NAMESPACE, "urn:tongban:envelope:2"),
        what="The root element is of another version.",
        what_zh="根元素属于另一版本。",
        why="A later version may mean something else by the same words.",
    )


def _kinds_and_environments() -> Iterator[Case]:
    yield refused(
        "kind-unknown",
        ("case.submit<", "case.conjure<"),
        what="A kind nobody has published.",
        what_zh="未公布的报文种类。",
        why="A node must not take what it cannot understand.",
        reason=Reason.KIND_UNKNOWN,
        clause="EN-2",
    )
    held = message().header
    case = f'<Case id="{held.case.case_id}" sequence="1"></Case>' if held.case else ""
    yield refused(
        "case-missing",
        (case, ""),
        what="A message of a case that names no case.",
        what_zh="办件报文未写明办件。",
        why="It would have no place in any sequence.",
        clause="EN-1 EN-10",
    )
    yield refused(
        "ping-with-case",
        ("case.submit<", "ping<"),
        what="A ping that names a case.",
        what_zh="连通测试写明了办件。",
        why="A node's ping key would use up numbers of a case.",
        clause="EN-1 EN-10",
    )
    yield refused(
        "environment-mismatch",
        ('"trial"', '"production"'),
        what="A message of the production environment at a trial node.",
        what_zh="正式环境的报文到达试运行节点。",
        why="A rehearsal must never become a case, nor a case a rehearsal.",
        reason=Reason.ENVIRONMENT_MISMATCH,
        clause="EN-3",
    )
