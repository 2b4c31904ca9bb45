"""Group body: what ties fields to one another or to the law, and no schema can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.bodies import encode_body
from protocol.reasons import Reason
from tests.samples import CORRECT, GRANT, REFUSE, REJECT, SUBMIT, SUPPLEMENT
from tools.vectors.bodies import body_case
from tools.vectors.samples import edited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.bodies import Body
    from tools.vectors.cases import Case


SCHEMA: Final = "What the schema does not know, two offices may understand in two ways."
LAW: Final = "What the law makes part of a step is part of its form: without it the step is void."
IDENTITY: Final = "A number mistyped at the window sends somebody else's papers on their way."
POINTER: Final = "A body must not point to a file that did not come with it."


def cases() -> Iterator[Case]:
    """Every case of the family."""
    address = "<address>湖北省武汉市武昌区样例街2号</address><recipient>"
    post = "<recipient>覃知远</recipient><telephone>000-0000-0002</telephone>"
    remark = "<name>remark</name>"
    explanation = "<explanation>申请人不符合条件。</explanation>"
    ground = "<ground>中华人民共和国行政许可法第三十八条第二款</ground>"
    rows: list[tuple[str, Body, tuple[tuple[str, str], ...], str, str, str, str]] = [
        (
            "part-unknown",
            SUBMIT,
            (("<part>m1<", "<part>m9<"),),
            "A material whose file is not in the manifest.",
            "材料所指部件不在清单中。",
            POINTER,
            "BO-10",
        ),
        (
            "part-is-body",
            SUBMIT,
            (("<part>m1<", "<part>body<"),),
            "A material whose file is the body.",
            "材料所指部件是正文。",
            POINTER,
            "BO-10",
        ),
        (
            "power-of-attorney-unknown",
            SUBMIT,
            (("<powerOfAttorney>m1<", "<powerOfAttorney>m9<"),),
            "A power of attorney that did not come along.",
            "授权委托书未随附。",
            POINTER,
            "BO-10",
        ),
        (
            "document-unknown",
            GRANT,
            (("<part>m1<", "<part>m9<"),),
            "A licence that did not come along.",
            "证照未随附。",
            POINTER,
            "BO-10",
        ),
        (
            "identity-check",
            SUBMIT,
            (("42060619480317052X", "420606194803170521"),),
            "An identity number with a wrong check character.",
            "居民身份证号码校验码不符。",
            IDENTITY,
            "BO-11",
        ),
        (
            "identity-small-x",
            SUBMIT,
            (("42060619480317052X", "42060619480317052x"),),
            "An identity number with a small x.",
            "居民身份证号码末位为小写 x。",
            IDENTITY,
            "BO-11",
        ),
        (
            "identity-15-digits",
            SUBMIT,
            (("42060619480317052X", "420606480317052"),),
            "An identity number of the first generation.",
            "十五位旧身份证号码。",
            IDENTITY,
            "BO-11",
        ),
        (
            "post-without-address",
            SUBMIT,
            ((address, "<recipient>"),),
            "Delivery by post without an address.",
            "邮寄送达而没有地址。",
            SCHEMA,
            "BO-13",
        ),
        (
            "post-without-recipient",
            SUBMIT,
            ((post, "<telephone>000-0000-0002</telephone>"),),
            "Delivery by post without a recipient.",
            "邮寄送达而没有收件人。",
            SCHEMA,
            "BO-13",
        ),
        (
            "electronic-without-part",
            SUBMIT,
            (("<part>m1</part>", ""),),
            "An electronic material without a file.",
            "电子材料没有文件。",
            POINTER,
            "BO-14",
        ),
        (
            "field-twice",
            SUBMIT,
            ((remark, "<name>cardNumber</name>"),),
            "A form field that occurs twice.",
            "表单项重复。",
            SCHEMA,
            "BO-15",
        ),
        (
            "competent-missing",
            REJECT,
            (("<competent>襄阳市襄城区卫生健康局</competent>", ""),),
            "Not competent, and does not say who is.",
            "不属本机关职权而未告知有权机关。",
            LAW,
            "BO-17",
        ),
        (
            "explanation-missing",
            REFUSE,
            ((explanation, ""),),
            "A refusal without reasons.",
            "不予许可而未说明理由。",
            LAW,
            "BO-18",
        ),
        (
            "ground-missing",
            REFUSE,
            ((ground, ""),),
            "A refusal without its legal ground.",
            "不予许可而无法律依据。",
            LAW,
            "BO-18",
        ),
        (
            "problems-none",
            CORRECT,
            (),
            "A correction notice that names no problem.",
            "补正告知未列明内容。",
            LAW,
            "BO-1",
        ),
        (
            "remedies-none",
            REFUSE,
            (),
            "A refusal that names no remedy.",
            "不予许可而未告知救济途径。",
            LAW,
            "BO-18",
        ),
        (
            "supplement-empty",
            SUPPLEMENT,
            (),
            "A supplement that brings nothing.",
            "补正而无任何材料或表单项。",
            LAW,
            "BO-16",
        ),
        (
            "document-with-refusal",
            REFUSE,
            (
                (
                    "</remedy></CaseDecide>",
                    "</remedy><document><scheme>card</scheme><value>1</value><name>证</name></document></CaseDecide>",
                ),
            ),
            "A refusal that issues a licence.",
            "不予许可而颁发证照。",
            LAW,
            "BO-19",
        ),
    ]
    cut = {
        "problems-none": ("<problem>", "<due>"),
        "remedies-none": ("<remedy>", "</CaseDecide>"),
        "supplement-empty": ("<material>", "<note>"),
    }
    for name, body, edits, what, what_zh, why, clause in rows:
        text = edited(*edits, text=encode_body(body).decode())
        if name in cut:
            start, end = cut[name]
            text = text[: text.index(start)] + text[text.index(end) :]
        yield body_case(
            f"rule-{name}",
            text,
            what,
            what_zh,
            why,
            f"BO-1 {clause}" if clause != "BO-1" else clause,
            reason=Reason.BODY_INVALID,
        )
