"""Problem documents (RFC 9457): what was wrong, where, and what to do about it, Chinese first.

Most problems carry a reason of the closed list (`protocol.reasons`), as
``urn:tongban:reason:<code>``. What can only go wrong at this interface has a short list of its own,
`Fault`, as ``urn:tongban:problem:<code>``. Neither ever quotes a value that was sent: it may be
personal.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from adapters.local_json import DocumentRefusedError
from node.api.writing import respond
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from protocol.bodies import FieldError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1

_REFUSED: Final = 422
_UNAVAILABLE: Final = 503
# What HTTP has a word of its own for; every other reason is 422 or 503.
_STATUS: Final = {
    Reason.TOO_LARGE: 413,
    Reason.CASE_UNKNOWN: 404,
    Reason.MESSAGE_UNKNOWN: 404,
    Reason.LEAF_UNKNOWN: 404,
    Reason.WRONG_STATE: 409,
    Reason.STILL_NEEDED: 409,
    Reason.OVERLOADED: 429,
}


class Fault(Enum):
    """What only this interface complains of: (code, status, 中文, English, 处理办法, remedy)."""

    def __init__(
        self,
        code: str,
        status: int,
        chinese: str,
        english: str,
        chinese_remedy: str,
        remedy: str,
    ) -> None:
        self.code: Final = code
        self.status: Final = status
        self.chinese: Final = chinese
        self.english: Final = english
        self.chinese_remedy: Final = chinese_remedy
        self.remedy: Final = remedy

    MALFORMED = (
        "malformed",
        400,
        "请求格式不正确",
        "the request is malformed",
        "对照 /v1/openapi.json 修正请求",
        "compare the request with /v1/openapi.json",
    )
    UNAUTHORIZED = (
        "unauthorized",
        401,
        "没有出示有效的访问令牌",
        "no valid token was shown",
        "在 Authorization 头中出示令牌文件中的令牌：Bearer <令牌>",
        "show the token of the node's token file: Authorization: Bearer <token>",
    )
    NOT_FOUND = (
        "not-found",
        404,
        "没有此资源",
        "there is no such resource",
        "核对地址与编号；接口列表见 /v1/openapi.json",
        "check address and id; /v1/openapi.json lists what there is",
    )
    ERASED = (
        "erased",
        410,
        "内容已依法删除",
        "the contents were erased, as the law demands",
        "交接凭证仍在：导出存证文件",
        "what proves the hand-over is still here: export the evidence",
    )
    METHOD_NOT_ALLOWED = (
        "method-not-allowed",
        405,
        "此资源不支持该方法",
        "the resource does not take this method",
        "改用 Allow 头中列出的方法",
        "use a method of the Allow header",
    )
    TOO_SLOW = (
        "too-slow",
        408,
        "请求未在规定时间内到齐",
        "the request did not arrive in time",
        "重新发送",
        "send it again",
    )
    KEY_REUSED = (
        "idempotency-key-reused",
        409,
        "该幂等键已用于另一请求",
        "the idempotency key was used for another request",
        "每个新请求使用新的 Idempotency-Key；重发时原样重发",
        "use a fresh Idempotency-Key for a new request, and repeat a request unchanged",
    )
    UPLOAD_UNFIT = (
        "upload-unfit",
        409,
        "上传不存在、已用于其他报文或尚未完成",
        "the upload is unknown, was used for another message, or is not whole",
        "完成上传后再引用；每次上传只能用于一份报文",
        "finish the upload before naming it; each is good for one message",
    )
    UPLOAD_OFFSET = (
        "upload-offset",
        409,
        "上传位置与已收内容不符",
        "the offset is not where the upload ends",
        "用 HEAD 查询 Upload-Offset，从该处继续",
        "ask for Upload-Offset with HEAD and go on from there",
    )
    UPLOAD_BUSY = (
        "upload-busy",
        423,
        "另一请求正在写入此上传",
        "another request is writing to this upload",
        "稍后用 HEAD 查询位置再继续",
        "wait, ask for Upload-Offset with HEAD, and go on from there",
    )
    TUS_VERSION = (
        "tus-version",
        412,
        "不支持此上传协议版本",
        "this version of the upload protocol is not served",
        "使用 Tus-Resumable: 1.0.0",
        "send Tus-Resumable: 1.0.0",
    )
    RANGE = (
        "range",
        416,
        "请求的范围超出内容",
        "the range lies outside the content",
        "按 Content-Range 给出的长度请求",
        "ask within the length that Content-Range gives",
    )
    LEASE_LOST = (
        "lease-lost",
        409,
        "租约已失效或已转给他人",
        "the lease is no longer yours",
        "重新租取收件箱；本条可能已由他人处理",
        "lease the inbox again; somebody else may have the entry",
    )
    MEDIA_TYPE = (
        "media-type",
        415,
        "请求内容的类型不符",
        "the content of the request is of another type",
        "按 /v1/openapi.json 设置 Content-Type（多为 application/json），不使用内容编码",
        "set the Content-Type of /v1/openapi.json, mostly application/json, without an encoding",
    )
    FAILED = (
        "failed",
        500,
        "节点内部错误",
        "the node failed on this request",
        "请运维人员查看日志；可用同一幂等键重试",
        "its operator finds it in the log; it is safe to try again with the same idempotency key",
    )


class ProblemError(Exception):
    """A request ends with this fault.

    Args:
        fault: Its kind.
        detail: What was found, in one line, without personal data.
        errors: Field by field, where it is about fields.
        headers: To be set on the answer.
    """

    def __init__(
        self,
        fault: Fault,
        detail: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.fault = fault
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(f"{fault.code}: {detail or fault.english}")


def problem_of(
    error: ProblemError | RefusedError | UnavailableError, instance: str
) -> web.Response:
    """The answer to a request that ended in this error.

    Args:
        error: What went wrong.
        instance: The path that was asked for.
    """
    if isinstance(error, ProblemError):
        fault = error.fault
        return _answer(
            f"urn:tongban:problem:{fault.code}",
            fault,
            fault.status,
            {"detail": error.detail, "instance": instance},
            error.errors,
            error.headers,
        )
    reason = error.reason
    transient = isinstance(error, UnavailableError)
    return _answer(
        f"urn:tongban:reason:{reason.code}",
        reason,
        _STATUS.get(reason, _UNAVAILABLE if transient else _REFUSED),
        {"detail": error.detail, "instance": instance, "clause": reason.clause},
        error.errors if isinstance(error, DocumentRefusedError) else (),
        {hdrs.RETRY_AFTER: str(RETRY_AFTER_S)} if transient else {},
    )


def _answer(
    name: str,
    words: Fault | Reason,
    status: int,
    found: Mapping[str, str],
    errors: Sequence[FieldError],
    headers: Mapping[str, str],
) -> web.Response:
    document = {
        "type": name,
        "title": words.chinese,
        "titleEn": words.english,
        "status": status,
        **found,
        "remedy": words.remedy,
        "remedyZh": words.chinese_remedy,
        "errors": [
            {
                "path": row.path,
                "problem": row.problem,
                "problemZh": row.chinese_problem,
                "remedy": row.remedy,
                "remedyZh": row.chinese_remedy,
            }
            for row in errors
        ],
    }
    return respond(document, status, headers, MEDIA_TYPE)
