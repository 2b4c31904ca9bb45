"""Envelopes both ways with xmlsec1, signxml and the JDK; see docs/signature-interop.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from protocol.envelope import write_content
from protocol.errors import RefusedError
from protocol.reasons import Reason
from signing.keys import KeyUse
from signing.suites import Suite
from tests.messages import (
    WUHAN,
    XIANGYANG,
    Keys,
    authority_of,
    envelope,
    keys_of,
    message_id,
    signed_by_sender,
    verified,
)
from tests.other_programs import Jdk, Program, Signxml, Xmlsec1, normalise

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.envelope import Envelope
    from signing.suites import PrivateKey

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROGRAMS = [
    ("xmlsec1", Suite.P256),
    ("signxml", Suite.P256),
    ("jdk", Suite.P256),
    ("jdk", Suite.ED25519),
]
# What is changed after signing, and what we call it.
TAMPERED = [
    (rb'node="420600"', rb'node="420601"', Reason.DIGEST_MISMATCH),
    (rb"2026-12-22", rb"2026-12-23", Reason.DIGEST_MISMATCH),
    (rb'sequence="1"', rb'sequence="2"', Reason.DIGEST_MISMATCH),
    (rb"(<ds:DigestValue>)....", rb"\1AAAA", Reason.DIGEST_MISMATCH),
    (rb"(<ds:SignatureValue>)....", rb"\1AAAA", Reason.SIGNATURE_INVALID),
]


class Trial(NamedTuple):
    """One program in one suite, with a message, its keys and a folder."""

    program: Program
    keys: Keys
    message: Envelope
    folder: Path

    @property
    def key(self) -> PrivateKey:
        return self.keys.secrets[self.message.header.sender.key]

    @property
    def other_key(self) -> PrivateKey:
        return self.keys.secrets[self.keys.find(KeyUse.ENVELOPE, authority_of(XIANGYANG))]

    def signed_there(self, key: PrivateKey | None = None) -> bytes:
        return self.program.signed(write_content(self.message), key or self.key)

    def accepted(self, *documents: bytes, key: PrivateKey | None = None) -> list[bool]:
        files = [self.folder / f"{number}.xml" for number in range(len(documents))]
        for file, octets in zip(files, documents, strict=True):
            file.write_bytes(octets)
        accepted = self.program.accepted(files, key or self.key)
        return [file in accepted for file in files]


@pytest.fixture(scope="module")
def jdk(tmp_path_factory: pytest.TempPathFactory) -> Jdk:
    return Jdk(tmp_path_factory.mktemp("jdk"))


@pytest.fixture(params=PROGRAMS, ids=lambda param: f"{param[0]}-{param[1]}")
def trial(request: pytest.FixtureRequest, tmp_path: Path, jdk: Jdk) -> Trial:
    name, suite = request.param
    programs: dict[str, Program] = {
        # As docs/signature-interop.md has it: nothing outside the document may be referred to.
        "xmlsec1": Xmlsec1(tmp_path, "--enabled-reference-uris", "empty"),
        "signxml": Signxml(),
        "jdk": jdk,
    }
    assert suite in programs[name].suites
    keys = keys_of([WUHAN, XIANGYANG], suite)
    message = envelope(keys, suite, in_reply_to=message_id(9), trace=TRACE)
    return Trial(programs[name], keys, message, tmp_path)


def refusal(octets: bytes, keys: Keys) -> Reason:
    with pytest.raises(RefusedError) as caught:
        verified(octets, keys)
    return caught.value.reason


def test_ours_there_theirs_here_and_tampered_nowhere(trial: Trial) -> None:
    ours = signed_by_sender(trial.message, trial.keys)
    written = trial.signed_there()
    # A declaration, empty-element tags, wrapped base64: a good signature, not the wire form.
    assert refusal(written, trial.keys) in (Reason.NOT_CANONICAL, Reason.SIGNATURE_PROFILE)
    theirs = normalise(written)
    here = verified(theirs, trial.keys)
    assert here.envelope == trial.message
    assert here.message_digest == verified(ours, trial.keys).message_digest
    tampered = [
        (re.sub(pattern, replacement, octets), reason)
        for octets in (ours, theirs)
        for pattern, replacement, reason in TAMPERED
    ]
    documents = [ours, written, theirs, *(octets for octets, _ in tampered)]
    assert trial.accepted(*documents) == [True] * 3 + [False] * len(tampered)
    for octets, reason in tampered:
        assert refusal(octets, trial.keys) is reason


def test_another_key_is_refused_by_both(trial: Trial) -> None:
    forged = normalise(trial.signed_there(trial.other_key))
    ours = signed_by_sender(trial.message, trial.keys)
    assert trial.accepted(ours, forged) == [True, False]
    assert trial.accepted(ours, forged, key=trial.other_key) == [False, True]
    assert refusal(forged, trial.keys) is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("suite", Suite, ids=str)
def test_the_step_changes_nothing_in_what_is_on_the_wire_already(suite: Suite) -> None:
    keys = keys_of([WUHAN, XIANGYANG], suite)
    octets = signed_by_sender(envelope(keys, suite), keys)
    assert normalise(octets) == octets
