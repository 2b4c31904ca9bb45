from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from node.request import KeyFacts, NodeFacts, read_request, write_request
from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import WUHAN, Keys, authority_of, keys_of, make_key
from tests.unit.routing.provinces import node

if TYPE_CHECKING:
    from collections.abc import Callable


def facts_of(keys: Keys) -> NodeFacts:
    return NodeFacts(
        version=1,
        environment="trial",
        node=node(WUHAN, operator=authority_of(WUHAN)),
        keys=tuple(
            KeyFacts(
                id=record.key.key_id,
                suite=record.key.suite,
                spki=record.key.spki,
                use=record.use,
                owner=record.owner,
            )
            for record in keys.records
        ),
    )


@pytest.fixture(params=list(Suite))
def keys(request: pytest.FixtureRequest) -> Keys:
    return keys_of([WUHAN], request.param)


def test_a_request_tells_the_publisher_what_the_node_said(keys: Keys) -> None:
    facts = facts_of(keys)
    assert read_request(write_request(facts, keys)) == facts


def test_it_may_be_laid_out_anew_by_people(keys: Keys) -> None:
    facts = facts_of(keys)
    tree = json.loads(write_request(facts, keys))
    assert read_request(json.dumps(tree, indent=4, sort_keys=True).encode()) == facts


def _other_url(tree: dict[str, Any]) -> None:
    tree["facts"]["node"]["url"] = "https://elsewhere.example:8443"


def _other_owner(tree: dict[str, Any]) -> None:
    tree["facts"]["keys"][0]["owner"] = authority_of("420600")


def _other_use(tree: dict[str, Any]) -> None:
    tree["facts"]["keys"][0]["use"] = KeyUse.CATALOGUE.value


def _other_environment(tree: dict[str, Any]) -> None:
    tree["facts"]["environment"] = "production"


def _swapped(tree: dict[str, Any]) -> None:
    tree["proofs"].reverse()


def _one_short(tree: dict[str, Any]) -> None:
    tree["proofs"].pop()


def _one_too_many(tree: dict[str, Any]) -> None:
    tree["proofs"].append(tree["proofs"][0])


@pytest.mark.spec("DI-20")
@pytest.mark.parametrize(
    "change",
    [
        _other_url,
        _other_owner,
        _other_use,
        _other_environment,
        _swapped,
        _one_short,
        _one_too_many,
    ],
)
def test_nothing_can_be_changed_after_the_keys_have_spoken(
    change: Callable[[dict[str, Any]], None],
) -> None:
    keys = keys_of([WUHAN])
    tree = json.loads(write_request(facts_of(keys), keys))
    change(tree)
    with pytest.raises(RefusedError) as refusal:
        read_request(json.dumps(tree).encode())
    assert refusal.value.reason is Reason.DOCUMENT_SIGNATURE


@pytest.mark.spec("DI-20")
def test_a_key_that_somebody_else_holds_is_not_registered() -> None:
    keys = keys_of([WUHAN])
    tree = json.loads(write_request(facts_of(keys), keys))
    stolen = make_key("somebody else's").public
    row = KeyFacts(
        id=stolen.key_id, suite=stolen.suite, spki=stolen.spki, use=KeyUse.ENVELOPE, owner="x"
    )
    tree["facts"]["keys"].append(row.model_dump(mode="json"))
    tree["proofs"].append(tree["proofs"][0])
    with pytest.raises(RefusedError) as refusal:
        read_request(json.dumps(tree).encode())
    assert refusal.value.reason is Reason.DOCUMENT_SIGNATURE


def test_an_id_has_to_be_its_key_s_and_stand_there_once() -> None:
    keys = keys_of([WUHAN])
    facts = facts_of(keys)
    twice = facts.model_copy(update={"keys": (facts.keys[0], facts.keys[0])})
    wrong = facts.keys[0].model_copy(update={"spki": facts.keys[1].spki})
    for changed in (twice, facts.model_copy(update={"keys": (wrong,)})):
        with pytest.raises(RefusedError) as refusal:
            read_request(write_request(changed, keys))
        assert refusal.value.reason is Reason.DOCUMENT_INVALID
