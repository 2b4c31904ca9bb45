"""Cases (办件): file one, take its next step, follow it.

What is filed is durable, signed and queued when the answer comes; the answer to a repeated request
is the first one again. Whose turn it is stands in `node.api.following`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from adapters.local_json import DocumentRefusedError, to_body
from node.api.following import case_shown, summary_shown
from node.api.forms import ActForm, CasesQuery, SubmitForm
from node.api.problems import Fault, ProblemError
from node.api.reading import CLIENT, read_act, read_id, read_query
from node.api.writing import authority_shown, respond
from node.cases import Side
from node.outgoing import Draft, Filed, Token, TokenClash, read_answer
from node.parts.files import Material, Uploaded, UploadUnfit
from node.store.queries import find_answer, find_case
from node.store.views import find_sides, follow_case, list_cases
from protocol.bodies import CaseSubmit, FieldError, Ping
from protocol.envelope import Address
from protocol.errors import LocalUseError, RefusedError
from protocol.reasons import Reason
from routing.jurisdiction import Ambiguous, NotFound, Responsible, responsible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web
    from sqlalchemy import Connection

    from node.api.forms import FileForm
    from node.engine import Engine
    from protocol.bodies import Body
    from routing.catalogue import Implementation

_LOOK_UP: Final = "0"  # a code that stands for "whoever is responsible" until that is known


class CasesApi:
    """Cases of authorities of ours."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._context = engine.context

    async def submit(self, request: web.Request) -> web.Response:
        """POST /v1/cases: a new case, to the authority that is responsible."""
        form, key, digest = await read_act(request, SubmitForm)
        token = Token(CLIENT, key, digest)
        filed = await self._earlier(token)
        if filed is None:
            filed = await self._file(self._submission(form, token))
        case_id = filed.case_id or ""
        view = await self._context.store.read(
            lambda connection: find_case(connection, case_id, Side.COLLECT)
        )
        if view is None:
            message = f"case {case_id} was filed and is not there"
            raise LocalUseError(message)
        directory = self._context.federation.directory
        return respond(
            {
                **_filed_shown(filed),
                "authority": authority_shown(
                    directory, view.handling_authority, view.handling_node
                ),
                "implementation": view.implementation,
            },
            201,
            {"Location": f"/v1/cases/{case_id}"},
        )

    async def act(self, request: web.Request) -> web.Response:
        """POST /v1/cases/{caseId}/acts: the next message of a case, by either end."""
        case_id = read_id(request, "caseId")
        form, key, digest = await read_act(request, ActForm)
        token = Token(CLIENT, key, digest)
        filed = await self._earlier(token)
        if filed is None:
            body = _body(form.kind, form.body, self._engine.salt(), "body")
            if isinstance(body, CaseSubmit | Ping):
                raise ProblemError(Fault.MALFORMED, "kind: no step of a case", [_NO_STEP])
            materials = _materials(form.files)
            draft = Draft(form.authority, body, materials, case_id=case_id, token=token)
            filed = await self._file(draft)
        return respond(_filed_shown(filed), 201)

    async def list(self, request: web.Request) -> web.Response:
        """GET /v1/cases: newest first, one row per end that is ours."""
        query = read_query(request, CasesQuery)
        case_id, _, side = (query.after or "").partition(".")
        after = (case_id, side) if query.after else None
        rows = await self._context.store.read(
            lambda connection: list_cases(
                connection, query.side, query.state, after, query.limit + 1
            )
        )
        page, more = rows[: query.limit], len(rows) > query.limit
        federation = self._context.federation
        last = f"{page[-1].case_id}.{page[-1].side}" if more else None
        return respond({"cases": [summary_shown(federation, row) for row in page], "next": last})

    async def show(self, request: web.Request) -> web.Response:
        """GET /v1/cases/{caseId}: where it stands, who has it, its messages and receipts."""
        case_id = read_id(request, "caseId")
        sides, followed = await self._context.store.read(
            lambda connection: (find_sides(connection, case_id), follow_case(connection, case_id))
        )
        if not sides:
            raise RefusedError(Reason.CASE_UNKNOWN, f"no case {case_id} here")
        federation, here = self._context.federation, self._context.here
        return respond(case_shown(federation, here, sides, followed))

    # filing

    async def _earlier(self, token: Token) -> Filed | None:
        """What this request was answered before; asked first, since the world may have changed."""

        def query(connection: Connection) -> Filed | TokenClash | None:
            answer = find_answer(connection, token.client, token.key)
            if answer is None:
                return None
            same = answer.request_digest == token.request_digest
            return read_answer(answer.answer) if same else TokenClash()

        found = await self._context.store.read(query)
        if isinstance(found, TokenClash):
            raise ProblemError(Fault.KEY_REUSED)
        return found

    async def _file(self, draft: Draft) -> Filed:
        outcome = await self._engine.file(draft)
        match outcome:
            case Filed():
                return outcome
            case TokenClash():
                raise ProblemError(Fault.KEY_REUSED)
            case UploadUnfit():
                raise _unfit(draft, outcome)
            case _:
                assert_never(outcome)

    def _submission(self, form: SubmitForm, token: Token) -> Draft:
        document = {"implementation": _LOOK_UP, **form.submit}
        body = _body("case.submit", document, self._engine.salt(), "submit")
        if not isinstance(body, CaseSubmit):
            message = "case.submit is not read as a submission"
            raise LocalUseError(message)
        implementation = self._implementation(body)
        handling = implementation.authority
        directory = self._context.federation.directory
        entry = directory.authority(handling, implementation.province)
        if entry is None:
            raise RefusedError(Reason.ITEM_NOT_SERVED, f"authority {handling} is not listed")
        return Draft(
            form.authority,
            replace(body, implementation=implementation.code),
            _materials(form.files),
            recipient=Address(entry.node, handling),
            token=token,
        )

    def _implementation(self, body: CaseSubmit) -> Implementation:
        """The one that was chosen, or else the one the basis leads to.

        Whether the basis leads to a chosen one is asked when the case is filed, as at the other
        end.
        """
        federation, basis = self._context.federation, body.basis
        if body.implementation != _LOOK_UP:
            # Two provinces may use one code: the basis says in which of them it is meant.
            chosen = federation.catalogue.implementation(body.implementation, basis.region)
            chosen = chosen or federation.catalogue.only_implementation(body.implementation)
            if chosen is None:
                detail = f"no implementation {body.implementation} in the catalogue"
                raise RefusedError(Reason.ITEM_NOT_SERVED, detail)
            return chosen
        found = responsible(
            federation.catalogue,
            federation.directory,
            body.item,
            basis.kind,
            basis.region,
            basis.zone,
            now_ms=self._context.clock.now_ms(),
        )
        match found:
            case Responsible():
                return found.implementation
            case Ambiguous(chinese_question=chinese, english_question=english):
                raise RefusedError(Reason.ROUTE_AMBIGUOUS, f"{chinese} {english}")
            case NotFound():
                raise RefusedError(found.reason, f"{found.chinese} {found.english}")
            case _:
                assert_never(found)


_NO_STEP: Final = FieldError(
    "kind",
    "no step of a case",
    "submit with POST /v1/cases, ping with POST /v1/pings",
    "不是办件的步骤",
    "收件转送用 POST /v1/cases，连通测试用 POST /v1/pings",
)


def _body(kind: str, document: Mapping[str, object], salt: str, member: str) -> Body:
    """The body of a document that stands in this member of the request."""
    try:
        return to_body(kind, document, salt)
    except DocumentRefusedError as error:
        inside = [replace(row, path=f"{member}.{row.path}") for row in error.errors]
    raise DocumentRefusedError(inside)


def _materials(files: Mapping[str, FileForm]) -> dict[str, Material | Uploaded]:
    return {
        part_id: Material(file.media_type, file.octets or b"")
        if file.upload is None
        else Uploaded(file.media_type, file.upload)
        for part_id, file in files.items()
    }


def _unfit(draft: Draft, unfit: UploadUnfit) -> ProblemError:
    known = unfit.held is not None
    errors = [
        FieldError(
            f"files.{part_id}.upload",
            f"{unfit.held} of {unfit.size} octets are here" if known else "unknown here, or used",
            "finish it first" if known else "upload the file again",
            f"已到 {unfit.held} / {unfit.size} 字节" if known else "不存在或已使用",
            "先完成上传" if known else "重新上传该文件",
        )
        for part_id, material in draft.materials.items()
        if isinstance(material, Uploaded) and material.upload_id == unfit.upload_id
    ]
    return ProblemError(Fault.UPLOAD_UNFIT, f"upload {unfit.upload_id}", errors)


def _filed_shown(filed: Filed) -> dict[str, object]:
    return {
        "caseId": filed.case_id,
        "messageId": filed.message.message_id,
        "sequence": filed.sequence,
        "route": filed.route,
    }
