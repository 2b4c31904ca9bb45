from __future__ import annotations

import json

import pytest

from node.api.openapi import openapi_document
from node.api.problems import MEDIA_TYPE, Fault, ProblemError, problem_of
from protocol.errors import RefusedError, UnavailableError
from protocol.reasons import Reason
from tests.openapi_check import problems

SCHEMA = {"$ref": "#/components/schemas/ProblemDocument"}


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_every_reason_becomes_a_problem_that_names_rule_and_remedy(reason: Reason) -> None:
    error = RefusedError(reason, "found") if reason.final else UnavailableError(reason, "found")
    answer = problem_of(error, "/v1/cases")
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    assert answer.content_type == MEDIA_TYPE
    assert problems(openapi_document(), SCHEMA, document) == []
    assert document["type"] == f"urn:tongban:reason:{reason.code}"
    assert (document["clause"], document["remedyZh"]) == (reason.clause, reason.chinese_remedy)
    assert document["status"] == answer.status
    if reason.final:
        assert answer.status in {404, 409, 413, 422}
        assert "Retry-After" not in answer.headers
    else:
        assert answer.status in {429, 503}
        assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.code)
def test_every_fault_of_this_interface_has_a_remedy_in_two_languages(fault: Fault) -> None:
    answer = problem_of(ProblemError(fault, "found"), "/v1/cases")
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    assert problems(openapi_document(), SCHEMA, document) == []
    assert document["status"] == answer.status == fault.status
    assert document["title"] != document["titleEn"]
    assert "clause" not in document


def test_a_text_that_utf_8_cannot_carry_does_not_break_the_answer() -> None:
    answer = problem_of(RefusedError(Reason.KIND_UNKNOWN, "\ud800"), "/v1/cases")
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["detail"] == "?"
