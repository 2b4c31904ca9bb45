"""The forms of requests: what each may hold, strictly: unknown members and other types are errors.

What a message itself says (`submit`, `body`) is read by `adapters.local_json`, not here. The
descriptions are shown to whoever has to mend a request, Chinese first.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from node.cases import Side
from protocol.envelope import BODY_ID
from protocol.identifiers import is_region, is_uscc, is_uuid7
from protocol.lifecycle import CaseState
from protocol.limits import MAX_PARTS
from signing.erasure import MAX_NAME, MAX_NOTE

MAX_LEASE_ENTRIES: Final = 100
MAX_LEASE_S: Final = 3600
MAX_PAGE: Final = 200
MAX_FOUND: Final = 200
_MAX_QUERY: Final = 64
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,14}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

# As in schemas/envelope.xsd: what is signed has to be read by the other end.
_PART_ID: Final = r"^[a-z][a-z0-9\-]{0,31}$"
_MEDIA_TYPE: Final = r"^[a-z0-9][a-z0-9!#$&^_.+\-]*/[a-z0-9][a-z0-9!#$&^_.+\-]*$"
_MAX_MEDIA_TYPE: Final = 100


def _uscc(value: str) -> str:
    if not is_uscc(value):
        message = "not a unified social credit code"
        raise ValueError(message)
    return value


def _region(value: str) -> str:
    if not is_region(value):
        message = "not a region code"
        raise ValueError(message)
    return value


def _uuid(value: str) -> str:
    if not is_uuid7(value):
        message = "not a UUIDv7"
        raise ValueError(message)
    return value


def _material_id(value: str) -> str:
    if value == BODY_ID:
        message = f"{BODY_ID} is the message itself"
        raise ValueError(message)
    return value


def _octets(value: object) -> bytes:
    if not isinstance(value, str):
        message = "not a string"
        raise ValueError(message)  # noqa: TRY004 - what pydantic turns into its own error
    return base64.b64decode(value, validate=True)


def _number(value: object) -> int:
    """A number in a query, where everything is text."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        message = "not a number"
        raise ValueError(message)
    return int(value)


def _size(value: object) -> int:
    """How many leaves, in a query."""
    if not isinstance(value, str) or _SIZE.fullmatch(value) is None:
        message = "not a number of leaves"
        raise ValueError(message)
    return int(value)


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
        message = "not a digest"
        raise ValueError(message)
    return bytes.fromhex(value)


def _said(chinese: str, english: str) -> Any:  # noqa: ANN401 - pydantic's Field is Any
    return Field(description=f"{chinese} · {english}")


Uscc = Annotated[str, AfterValidator(_uscc)]
Region = Annotated[str, AfterValidator(_region)]
Id = Annotated[str, AfterValidator(_uuid)]
PartId = Annotated[str, Field(pattern=_PART_ID), AfterValidator(_material_id)]
Code = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._\-]{0,63}$")]
Words = Annotated[str, Field(min_length=1, max_length=_MAX_QUERY)]
Document = dict[str, object]


class Form(BaseModel):
    """A request, read."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class FileForm(Form):
    """A file that goes with a message."""

    media_type: Annotated[
        str,
        Field(pattern=_MEDIA_TYPE, max_length=_MAX_MEDIA_TYPE, alias="mediaType"),
        _said("小写媒体类型，如 application/pdf", "a lower-case media type, as application/pdf"),
    ]
    octets: Annotated[
        bytes | None,
        BeforeValidator(_octets),
        Field(alias="base64"),
        _said("文件内容，base64", "the file in base64"),
    ] = None
    upload: Annotated[Id | None, _said("已完成的上传号", "the id of a finished upload")] = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.octets is None) == (self.upload is None):
            message = "either base64 or upload"
            raise ValueError(message)
        return self


Files = Annotated[dict[PartId, FileForm], Field(max_length=MAX_PARTS - 1)]
_FILES: Final = _said(
    "以部件号为键的文件，最多 127 个：{mediaType, base64} 或 {mediaType, upload}",
    "at most 127 files by part id: {mediaType, base64} or {mediaType, upload}",
)
_AUTHORITY: Final = _said("18 位统一社会信用代码", "a unified social credit code of 18 characters")


class SubmitForm(Form):
    """POST /v1/cases."""

    authority: Annotated[Uscc, _AUTHORITY]
    submit: Annotated[Document, _said("收件转送正文，对象", "the case.submit body, an object")]
    files: Annotated[Files, _FILES] = {}


class ActForm(Form):
    """POST /v1/cases/{caseId}/acts."""

    authority: Annotated[Uscc, _AUTHORITY]
    kind: Annotated[
        str,
        Field(max_length=40),
        _said("报文种类，如 case.accept", "a kind of message, as case.accept"),
    ]
    body: Annotated[Document, _said("该种类的正文，对象", "the body of this kind, an object")]
    files: Annotated[Files, _FILES] = {}


class LeaseForm(Form):
    """POST /v1/inbox/lease."""

    authority: Annotated[Uscc | None, _AUTHORITY] = None
    most: Annotated[
        int,
        Field(ge=1, le=MAX_LEASE_ENTRIES, alias="max"),
        _said("条数，1 到 100", "how many entries, 1 to 100"),
    ] = 20
    seconds: Annotated[
        int,
        Field(ge=1, le=MAX_LEASE_S),
        _said("租期秒数，1 到 3600", "seconds of the lease, 1 to 3600"),
    ] = 60


class DoneForm(Form):
    """POST /v1/inbox/{messageId}/done."""

    authority: Annotated[Uscc, _AUTHORITY]
    lease: Annotated[Id, _said("租取时得到的租约号", "the lease as it was given")]


class PingForm(Form):
    """POST /v1/pings."""

    node: Annotated[Region, _said("节点编号：六位行政区划代码", "a node id of six digits")]


class CasesQuery(Form):
    """GET /v1/cases."""

    side: Annotated[
        Side | None,
        Field(strict=False),
        _said("collect 收件方或 handle 办理方", "collect or handle"),
    ] = None
    state: Annotated[
        CaseState | None, Field(strict=False), _said("办件状态", "a state of the lifecycle")
    ] = None
    limit: Annotated[
        int,
        BeforeValidator(_number),
        Field(ge=1, le=MAX_PAGE),
        _said("条数，1 到 200", "how many, 1 to 200"),
    ] = 50
    after: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f\-]{36}\.(collect|handle)$"),
        _said("上一页的 next", "the `next` of the page before"),
    ] = None


class ItemsQuery(Form):
    """GET /v1/items."""

    words: Annotated[
        str,
        Field(max_length=_MAX_QUERY, alias="q"),
        _said("名称或编码中的文字，最多 64 字", "words of a name or code, at most 64 characters"),
    ] = ""


class AuthorityQuery(Form):
    """GET /v1/items/{code}/authority."""

    basis: Annotated[str | None, _said("管辖依据种类", "the kind of jurisdiction basis")] = None
    region: Annotated[
        Region | None, _said("六位行政区划代码", "a region code of six digits (GB/T 2260)")
    ] = None
    zone: Annotated[Words | None, _said("功能区名称", "the name of a functional zone")] = None


class OwnerQuery(Form):
    """GET of one message, its part or its evidence: whose, where two authorities chose one id."""

    authority: Annotated[Uscc | None, _AUTHORITY] = None


class CaseEvidenceQuery(Form):
    """GET of the evidence of a case."""

    contents: Annotated[
        Literal["included", "omitted"],
        _said(
            "included 附正文与材料，omitted 不附", "included, or omitted: without bodies and parts"
        ),
    ] = "included"

    @property
    def wanted(self) -> bool:
        """Whether bodies and parts go along."""
        return self.contents == "included"


class MessageEvidenceQuery(CaseEvidenceQuery):
    """GET of the evidence of a message: whose, where two authorities chose one id."""

    authority: Annotated[Uscc | None, _AUTHORITY] = None


class ErasureForm(Form):
    """POST /v1/cases/{caseId}/erasure and /v1/messages/{messageId}/erasure."""

    authority: Annotated[Uscc, _AUTHORITY]
    name: Annotated[
        str,
        Field(min_length=1, max_length=MAX_NAME),
        _said("决定删除的人员姓名", "the name of the person who decided"),
    ]
    staff_number: Annotated[
        str,
        Field(min_length=1, max_length=MAX_NAME, alias="staffNumber"),
        _said("其工号", "their staff number"),
    ]
    ground: Annotated[
        Literal["purpose-over", "retention-over", "consent-withdrawn", "unlawful", "other-law"],
        _said("个人信息保护法第四十七条的情形", "the case of article 47 of the PIPL"),
    ]
    note: Annotated[
        str,
        Field(max_length=MAX_NOTE),
        _said("说明，至多 500 字", "in words, at most 500 characters"),
    ] = ""
    although_open: Annotated[
        bool,
        Field(alias="althoughOpen"),
        _said("办件未办结也删除", "erase although the case is not over"),
    ] = False


class DigestQuery(Form):
    """GET /v1/log/proof: of what."""

    digest: Annotated[
        bytes, BeforeValidator(_digest), _said("64 位小写十六进制摘要", "a digest: 64 hex digits")
    ]


class GrowthQuery(Form):
    """GET /v1/log/growth: from which size, to which."""

    first: Annotated[int, BeforeValidator(_size), _said("起始叶数", "leaves there were")]
    size: Annotated[
        int | None, BeforeValidator(_size), _said("其后叶数", "leaves there were later")
    ] = None
