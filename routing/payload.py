"""What the payloads of signed documents have in common: types, one octet form, one version rule.

Models are strict: no unknown member, no type bent into another. The octet form is JSON with sorted
members, no white space, UTF-8 unescaped and integers only (what RFC 8785 makes of such values). A
reader writes again what it read and compares, so a payload has exactly one form, and two readers
cannot understand it differently (a member given twice, a default left out).
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Generic, Protocol, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from protocol.errors import RefusedError
from protocol.identifiers import is_region, is_uscc
from protocol.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from protocol.envelope import Environment

STRICT: Final = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)
"""How every model here reads: nothing unknown, nothing converted, nothing changed afterwards."""

_MAX_TEXT: Final = 500
_INVISIBLE: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # not Cn, Co: rare names may be in neither table
_LARGEST_INTEGER: Final = 2**53 - 1  # what every JSON reader keeps exact


def _region(value: str) -> str:
    if not is_region(value):
        message = "need a GB/T 2260 code of six digits"
        raise ValueError(message)
    return value


def _uscc(value: str) -> str:
    if not is_uscc(value):
        message = "not a unified social credit code: 18 characters, the last one checks the others"
        raise ValueError(message)
    return value


def _printable(value: str) -> str:
    if any(unicodedata.category(character) in _INVISIBLE for character in value):
        message = "control characters, invisible characters and line ends are not allowed"
        raise ValueError(message)
    return value


def _from_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    octets = base64.b64decode(value, validate=True)
    if base64.b64encode(octets).decode("ascii") != value:
        message = "not the one base64 form of these octets"
        raise ValueError(message)
    return octets


def _to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


Text = Annotated[
    str, StringConstraints(min_length=1, max_length=_MAX_TEXT), AfterValidator(_printable)
]
RegionCode = Annotated[str, AfterValidator(_region)]
NodeId = RegionCode
Uscc = Annotated[str, AfterValidator(_uscc)]
Prefix = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]$")]
Instant = Annotated[int, Field(ge=0, le=_LARGEST_INTEGER)]
Version = Annotated[int, Field(ge=1, le=_LARGEST_INTEGER)]
Octets = Annotated[
    bytes, BeforeValidator(_from_base64), PlainSerializer(_to_base64, when_used="json")
]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a file, as `sha256sum` shows it."""
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]

M = TypeVar("M", bound=BaseModel)


def write_payload(payload: BaseModel) -> bytes:
    """The one octet form of a payload."""
    tree = payload.model_dump(mode="json")
    return json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def read_payload(model: type[M], octets: bytes) -> M:
    """Read a payload of a verified document.

    Raises:
        RefusedError: DOCUMENT_INVALID: another structure (the detail names the place), or not in
            the one octet form.
    """
    payload = read_model(model, octets)
    if write_payload(payload) != octets:
        detail = "the payload is not in its one form: members sorted, no white space, none twice"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    return payload


def read_model(model: type[M], octets: bytes) -> M:
    """Read JSON into a model, in any of its forms: for files that people write.

    Raises:
        RefusedError: DOCUMENT_INVALID, naming the first place that is wrong.
    """
    try:
        return model.model_validate_json(octets)
    except ValidationError as error:
        found = [f"{_place(row['loc'])}: {row['msg']}" for row in error.errors(include_url=False)]
        raise RefusedError(Reason.DOCUMENT_INVALID, _summary(found)) from error


def refuse_if_any(problems: Iterable[str]) -> None:
    """Refuse a document for the problems found in it.

    Raises:
        RefusedError: DOCUMENT_INVALID, with the first problem and how many more there are.
    """
    found = list(problems)
    if found:
        raise RefusedError(Reason.DOCUMENT_INVALID, _summary(found))


def repeated(place: str, values: Iterable[Hashable]) -> Iterator[str]:
    """A problem for each value that stands there more than once."""
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{place}: {value} stands there {count} times"


def _summary(found: list[str]) -> str:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more


def _place(steps: tuple[int | str, ...]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".") or "the payload"


class Publication(Protocol):
    """What every signed payload says about itself."""

    @property
    def version(self) -> int:
        """Rises by at least one with every publication."""

    @property
    def environment(self) -> Environment:
        """Trial and production do not mix."""

    @property
    def publisher(self) -> str:
        """Who speaks: a region prefix or an authority."""


def digest_of(octets: bytes) -> str:
    """How a file is named: its SHA-256, in hexadecimal."""
    return hashlib.sha256(octets).hexdigest()


class Named(BaseModel):
    """Another document by version and digest: that one and no other."""

    model_config = STRICT

    version: Version
    digest: Digest

    def __str__(self) -> str:
        return f"version {self.version} ({self.digest[:16]}…)"


P_co = TypeVar("P_co", bound=Publication, covariant=True)


@dataclass(frozen=True, slots=True)
class Verified(Generic[P_co]):
    """A document whose signature and structure held. Only the `open_…` functions make one.

    Attributes:
        payload: What it says.
        octets: The file as received, to be handed on unchanged.
    """

    payload: P_co
    octets: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the file: what others name it by, and what peers compare."""
        return digest_of(self.octets)

    @property
    def named(self) -> Named:
        """How other documents name it."""
        return Named(version=self.payload.version, digest=self.digest)


V = TypeVar("V", bound=Verified[Publication])


def require_forward(where: str, new: Named | None, old: Named | None) -> None:
    """Refuse a document that would take the place of a newer one, or of another of its version.

    Raises:
        RefusedError: DOCUMENT_INVALID.
    """
    if old is None or new == old:
        return
    if new is None or new.version < old.version:
        detail = f"{where}: {new or 'none'} after {old}: a rollback"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    if new.version == old.version:
        detail = f"{where}: {new} exists with other content, {old}: a split view"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)


def accept_newer(current: V | None, candidate: V) -> V:
    """Which of two verified documents of one publisher is in force: no rollback, no second truth.

    Returns:
        The candidate if there is no current one or its version is higher; the current one if both
        say the same.

    Raises:
        RefusedError: DOCUMENT_INVALID: an older version, other content under the same version,
            another publisher or environment.
    """
    if current is None:
        return candidate
    old, new = current.payload, candidate.payload
    if (old.publisher, old.environment) != (new.publisher, new.environment):
        detail = f"{new.publisher} {new.environment} for {old.publisher} {old.environment}"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    if new.version < old.version:
        detail = f"{new.publisher}: version {new.version} is older than {old.version}, held here"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    if new.version > old.version:
        return candidate
    if new != old:
        detail = f"{new.publisher}: version {new.version} exists with other content"
        raise RefusedError(Reason.DOCUMENT_INVALID, detail)
    return current
