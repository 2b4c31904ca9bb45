"""What each field of the local JSON form means, for those who integrate a system (字段说明).

Keyed by the field's JSON name, or by ``Class.name`` where a class means something of its own.
Chinese first.
"""

from __future__ import annotations

from typing import Final

WORDS: Final = {
    "accepted": "受理时刻 · when it was accepted",
    "actor": "经办人 · who acted",
    "address": "地址 · address",
    "agent": "代理人 · who applies for the applicant",
    "applicant": "申请人 · applicant",
    "basis": "管辖依据 · why this authority is responsible",
    "Basis.kind": "依据种类，见事项目录 · kind of basis, as the catalogue names it",
    "birthDate": "出生日期 · date of birth",
    "body": "受理复议或诉讼的机关 · before whom",
    "caseNumber": "办件编号 · case number",
    "cause": "原因 · cause",
    "CaseReject.cause": (
        "不予受理情形：not-required 依法不需要许可，not-competent 不属于本机关职权，"
        "not-corrected 补正不来，other 其他 · why it is rejected"
    ),
    "certificate": "证件 · certificate",
    "Certificate.number": "证件号码 · certificate number",
    "Certificate.type": (
        "证件类型：GA/T 2000.156 三位代码（111 居民身份证），uscc 统一社会信用代码"
        " · certificate type"
    ),
    "code": "编码 · code",
    "competent": "有权机关 · the authority that is competent",
    "count": "份数 · copies",
    "decided": "决定时刻 · when it was decided",
    "delivered": "送达时刻 · when it was delivered",
    "delivery": "送达方式 · how the applicant wants the result",
    "documents": "颁发的证照文书 · documents issued",
    "due": "期限届满时刻 · when it is due",
    "ethnicity": "民族，GB/T 3304 · ethnicity",
    "explanation": "理由 · reasons, for the applicant to read",
    "form": "表单项 · fields of the item's form",
    "Material.form": (
        "材料形式：original 原件，copy 复印件，electronic 电子件，licence 电子证照 · form"
    ),
    "ground": "法律依据 · legal ground",
    "guardian": "监护人 · guardian",
    "implementation": "实施编码 · implementation code",
    "item": "基本编码 · item code",
    "legalRepresentative": "法定代表人 · legal representative",
    "materials": "材料 · materials",
    "method": "方式：window 窗口领取，post 邮寄，electronic 电子送达 · method",
    "mode": (
        "通办模式：online 全程网办，collected 异地代收代办，joint 多地联办，"
        "delegated 异地授权、本地办理 · mode"
    ),
    "name": "名称 · name",
    "Actor.name": "姓名 · name",
    "note": "备注 · note",
    "numbers": "编号 · numbers",
    "part": "部件号 · id of the part with the file",
    "person": "人员 · person",
    "Person.kind": "natural 自然人，legal 法人和其他组织 · kind of person",
    "Person.name": "姓名或名称 · name",
    "powerOfAttorney": "授权委托书部件号 · id of the part with the power of attorney",
    "problem": "问题 · what is wrong",
    "Problem.code": "材料编码或表单项名称 · code of the material, or name of the field",
    "Problem.remedy": "如何补正 · what to do",
    "problems": "补正事项，一次列全 · everything to be corrected, at once",
    "proof": "证明材料部件号 · id of the part with the proof",
    "CaseDeliver.proof": "送达凭证 · what shows the delivery",
    "Proof.kind": "signature 签收人签字，waybill 运单，record 系统送达记录 · kind of proof",
    "Proof.value": "送达回证号、运单号或记录号 · its number",
    "received": "签收时刻 · when it was received",
    "recipient": "收件人 · recipient",
    "region": "行政区划代码，GB/T 2260 · region code",
    "rejected": "不予受理时刻 · when it was rejected",
    "relation": "与申请人关系 · relation to the applicant",
    "remedies": "救济途径 · remedies",
    "Remedy.kind": "review 行政复议，litigation 行政诉讼 · kind of remedy",
    "result": (
        "决定结果：granted 准予，refused 不予，withdrawn 申请人撤回，terminated 终止 · result"
    ),
    "scheme": (
        "编号种类：collection 收件编号，case 办件编号，query 查询码，notice 文书编号 · scheme"
    ),
    "scope": "委托权限 · what the agent may do",
    "sex": "性别，GB/T 2261.1：0 未知，1 男，2 女，9 未说明 · sex",
    "staffNumber": "工号 · staff number",
    "subject": "material 材料，field 表单项 · what it is about",
    "telephone": "电话 · telephone",
    "trust": "可信等级：A 机关产生，B 窗口核验，C 用户上传须核原件，D 自制承诺负责 · trust level",
    "value": "值 · value",
    "Number.value": "号码 · the number",
    "window": "窗口或岗位 · window or post",
    "within": "期限 · within what time",
    "zone": "功能区 · functional zone, which has no region code",
}


def words_for(class_name: str, key: str) -> str:
    """What a field means."""
    return WORDS.get(f"{class_name}.{key}") or WORDS[key]


def label_of(class_name: str, key: str) -> tuple[str, str]:
    """What a field is called: in Chinese, in English."""
    chinese, _, english = words_for(class_name, key).rpartition(" · ")
    for mark in "：，":
        chinese = chinese.partition(mark)[0]
    return chinese, english
