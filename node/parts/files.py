"""Files that go with a message of ours: as a caller names them, and ready to go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.ports import Delete
from node.store import schema
from node.store.queries import StoredBlob
from protocol.errors import UnavailableError
from protocol.reasons import Reason
from signing.suites import digest

if TYPE_CHECKING:
    from node.ports import Row
    from node.store.transfers import UploadRow
    from signing.suites import Suite


@dataclass(frozen=True, slots=True)
class Material:
    """A file in memory."""

    media_type: str
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file the caller has uploaded before."""

    media_type: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class UploadUnfit:
    """An upload that cannot go: unknown to this caller (held is None), used, or not whole yet."""

    upload_id: str
    held: int | None
    size: int | None


@dataclass(frozen=True, slots=True)
class File:
    """A file ready to go.

    Attributes:
        media_type: Of it.
        size: Octets.
        octets: If it is small: it goes into the message's row.
        upload: Where it comes from, if it was uploaded; ends when the message is filed.
        suite, digest: If it is large.
        ours: The upload was made here, for this draft alone.
    """

    media_type: str
    size: int
    octets: bytes | None = field(default=None, repr=False)
    upload: UploadRow | None = None
    suite: Suite | None = None
    digest: bytes | None = None
    ours: bool = False

    def digest_of(self, suite: Suite) -> bytes:
        """Its digest.

        Raises:
            UnavailableError: the sender's key has changed its suite since the file was made ready.
        """
        if self.octets is not None:
            return digest(suite, self.octets)
        if self.digest is None or self.suite is not suite:
            raise UnavailableError(Reason.STORE_UNAVAILABLE, "the sender's key has changed")
        return self.digest

    @property
    def blob(self) -> StoredBlob | None:
        """Where a large one is."""
        if self.octets is not None or self.upload is None:
            return None
        return StoredBlob(self.upload.blob, self.size)

    def taken(self) -> list[Row]:
        """The end of its upload."""
        if self.upload is None:
            return []
        return [Delete(schema.upload, {"upload_id": self.upload.upload_id})]
