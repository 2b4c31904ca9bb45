"""Invented people and one body of every kind; check digits are valid, telephones are not.

No person, company or number here is real: the identity numbers' region is real, the rest is made up
and completed by its check digit.
"""

from __future__ import annotations

from typing import Final

from protocol.bodies import (
    Actor,
    Agent,
    Basis,
    Body,
    CaseAccept,
    CaseCorrect,
    CaseDecide,
    CaseDeliver,
    CaseReceived,
    CaseReject,
    CaseSubmit,
    CaseSupplement,
    CaseVoid,
    Certificate,
    Delivery,
    Document,
    Field,
    Guardian,
    Material,
    Number,
    Person,
    Ping,
    Problem,
    Proof,
    Remedy,
)
from protocol.identifiers import identity_check, uscc_check

SALT: Final = "00112233445566778899aabbccddeeff"
NOON_MS: Final = 1_795_320_000_000  # 2026-11-22T04:00:00.000Z


def identity_number(body: str) -> str:
    return body + identity_check(body)


def uscc(body: str) -> str:
    return body + uscc_check(body)


CLERK: Final = Actor("汪小满", "武昌-0417", "综窗3号")
OFFICER: Final = Actor("聂远舟", "樊城-0032", "审批科")

# The rare character 䶮 needs four octets in GB18030; the check character is a digit.
WIDOW: Final = Person(
    kind="natural",
    name="覃䶮兰",
    certificate=Certificate("111", identity_number("42060619480317052")),
    sex="2",
    birth_date="1948-03-17",
    ethnicity="15",
    telephone="000-0000-0001",
    address="湖北省襄阳市樊城区样例路1号",
)
# His identity number ends in X.
NEPHEW: Final = Person(
    kind="natural",
    name="覃知远",
    certificate=Certificate("111", identity_number("42010619900101028")),
    sex="1",
)
CHILD: Final = Person(
    kind="natural",
    name="覃小禾",
    certificate=Certificate("117", "S420000001"),
    birth_date="2024-02-29",
)
COMPANY: Final = Person(
    kind="legal",
    name="樊城样例餐饮有限公司",
    certificate=Certificate("uscc", uscc("91420606MA4900000")),
)

REVIEW: Final = Remedy("review", "襄阳市人民政府", "60日")
LITIGATION: Final = Remedy("litigation", "襄阳市樊城区人民法院", "6个月")
IDENTITY_CARD: Final = Material("sfz", "居民身份证", "licence", "A", 1)
POWER_OF_ATTORNEY: Final = Material("wts", "授权委托书", "electronic", "B", 1, part="m1")
FORM: Final = (Field("cardNumber", "4206-000001"), Field("remark", ""))

SUBMIT: Final = CaseSubmit(
    salt=SALT,
    actor=CLERK,
    item="000112012000",
    implementation="11420606000000000X4000112012000",
    mode="collected",
    basis=Basis("household", "420606"),
    applicant=WIDOW,
    delivery=Delivery("post", "湖北省武汉市武昌区样例街2号", "覃知远", "000-0000-0002"),
    agent=Agent(NEPHEW, "m1", "代为提交、补正与领取"),
    numbers=(Number("collection", "SJ-2026-000001"), Number("query", "7Q2M")),
    materials=(IDENTITY_CARD, POWER_OF_ATTORNEY),
    form=FORM,
    note="老人行动不便 <由侄代办> & 自愿\n第二行\r",
)
SUBMIT_MINOR: Final = CaseSubmit(
    salt=SALT,
    actor=CLERK,
    item="000112012001",
    implementation="11420606000000000X4000112012001",
    mode="online",
    basis=Basis("residence", "420100", "东湖高新区"),
    applicant=CHILD,
    delivery=Delivery("electronic"),
    guardian=Guardian(NEPHEW, "叔父", "m1"),
    materials=(POWER_OF_ATTORNEY,),
)
SUBMIT_COMPANY: Final = CaseSubmit(
    salt=SALT,
    actor=CLERK,
    item="000131001000",
    implementation="11420606000000000X4000131001000",
    mode="joint",
    basis=Basis("place-of-business", "420606"),
    applicant=COMPANY,
    delivery=Delivery("window"),
    legal_representative=NEPHEW,
)
RECEIVED: Final = CaseReceived(SALT, OFFICER, NOON_MS, (Number("query", "7Q2M"),), "材料已签收")
ACCEPT: Final = CaseAccept(SALT, OFFICER, "BJ-420606-20261122-0001", NOON_MS, NOON_MS + 86_400_000)
REJECT: Final = CaseReject(
    SALT,
    OFFICER,
    "not-competent",
    NOON_MS,
    "中华人民共和国行政许可法第三十二条第一款第（二）项",
    "该事项由经营地县级机关办理。",
    (REVIEW, LITIGATION),
    competent="襄阳市襄城区卫生健康局",
    numbers=(Number("notice", "樊不受2026-1号"),),
)
CORRECT: Final = CaseCorrect(
    SALT,
    OFFICER,
    (
        Problem("material", "sfz", "证件照片不清晰", "重新拍摄正反面"),
        Problem("field", "cardNumber", "少一位", "对照卡面重新填写"),
    ),
    NOON_MS,
)
SUPPLEMENT: Final = CaseSupplement(SALT, CLERK, (IDENTITY_CARD,), FORM, "已重新拍摄")
GRANT: Final = CaseDecide(
    SALT,
    OFFICER,
    "granted",
    NOON_MS,
    documents=(Document("senior-card", "鄂优待0000001", "老年人优待证", "m1"),),
)
REFUSE: Final = CaseDecide(
    SALT,
    OFFICER,
    "refused",
    NOON_MS,
    "中华人民共和国行政许可法第三十八条第二款",
    "申请人不符合条件。",
    (REVIEW, LITIGATION),
)
DELIVER: Final = CaseDeliver(
    SALT, CLERK, "post", "覃知远", NOON_MS, Proof("waybill", "EX0000000001CN", "m1")
)
VOID: Final = CaseVoid(SALT, CLERK, "报文在途丢失")
PING: Final = Ping(SALT, Actor("夏值班", "ops-1", "控制台"), "接入测试")

BODIES: Final[tuple[Body, ...]] = (
    PING,
    SUBMIT,
    SUBMIT_MINOR,
    SUBMIT_COMPANY,
    RECEIVED,
    ACCEPT,
    REJECT,
    CORRECT,
    SUPPLEMENT,
    GRANT,
    REFUSE,
    DELIVER,
    VOID,
)
