"""A publisher's folder: what a province has published, what waits for signatures, the next draft.

    draft.json    the next directory, a text file; commands edit it, and so may people
    pending/      proposals that go from signer to signer
    published/    what every node installs: roots, directory, items, revocations, freshness
    anchor.json   the trust anchor for this province: the digest of its first root

No private key is in it. The folder may travel on a stick: whoever signs has everything there to
see what is signed, and against what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from node.cli.documents import kind_of, naming, payload_of, read_anchor, read_files, read_octets
from node.cli.ending import CommandError, Exit
from node.documents import MODELS, DocumentFile, file_name, read_document, write_file
from routing.catalogue import ITEMS_TYPE, ItemsPayload
from routing.directory_document import DIRECTORY_TYPE, DirectoryPayload
from routing.directory_province import RootDocument, open_as_directory_role, open_roots
from routing.directory_roles import (
    REVOCATION_TYPE,
    ROOT_TYPE,
    AnchorEntry,
    RootPayload,
    TrustAnchor,
)
from routing.payload import Named, digest_of, read_model, write_payload
from signing.document import proposed_document

if TYPE_CHECKING:
    from pathlib import Path

    from node.documents import Payload

T = TypeVar("T", bound="Payload")

_ANCHOR: Final = "anchor.json"
_DRAFT: Final = "draft.json"
_SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class Publisher:
    """A publisher's folder."""

    folder: Path

    @property
    def pending(self) -> Path:
        """Proposals that wait for signatures."""
        return self.folder / "pending"

    @property
    def published(self) -> Path:
        """What nodes install."""
        return self.folder / "published"

    @property
    def anchor_file(self) -> Path:
        """The trust anchor for this province."""
        return self.folder / _ANCHOR

    @property
    def draft_file(self) -> Path:
        """The next directory."""
        return self.folder / _DRAFT

    def make(self, draft: DirectoryPayload) -> None:
        """A new folder; nothing may be there."""
        if self.draft_file.exists():
            what = f"{self.folder}: 已是发布者目录 is a publisher's folder already"
            raise CommandError(what, "另选目录 choose another", Exit.REFUSED)
        for folder in (self.folder, self.pending, self.published):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.write_draft(draft)

    def read_draft(self) -> DirectoryPayload:
        """The next directory as it stands."""
        if not self.draft_file.exists():
            what = f"{self.folder}: 不是发布者目录 not a publisher's folder, it has no {_DRAFT}"
            remedy = "指明目录 name it: --publisher FOLDER; 新建 a new one: directory root init"
            raise CommandError(what, remedy)
        with naming(self.draft_file):
            return read_model(DirectoryPayload, read_octets(self.draft_file))

    def write_draft(self, draft: DirectoryPayload) -> None:
        """Keep the next directory."""
        write_file(self.draft_file, draft.model_dump_json(indent=1).encode() + b"\n")

    def files(self) -> list[DocumentFile]:
        """Everything published."""
        return read_files([self.published])

    def proposals(self) -> list[DocumentFile]:
        """Everything that waits for signatures, in the order it has to be published."""
        order = list(MODELS)
        return sorted(read_files([self.pending]), key=lambda file: order.index(file.kind))

    def anchor(self) -> TrustAnchor:
        """The trust anchor.

        Raises:
            CommandError: no root is published yet.
        """
        if not self.anchor_file.exists():
            what = f"{self.folder}: 尚无已发布的根 no root is published yet"
            raise CommandError(what, "先签发 first: directory root sign, directory publish")
        return read_anchor(self.anchor_file)

    def roots(self) -> tuple[RootDocument, ...]:
        """The published roots, from the pinned one; each verified.

        Raises:
            RefusedError, UnavailableError: as `open_roots`.
        """
        (pin,) = self.anchor().anchors
        return open_roots([file.octets for file in self.files() if file.kind == ROOT_TYPE], pin)

    def roots_with(self, octets: bytes, payload: RootPayload) -> tuple[RootDocument, ...]:
        """The chain of roots with one more, or with the first one; verified as nodes do.

        Raises:
            RefusedError, UnavailableError: as `open_roots`.
        """
        if payload.version == 1:
            named = Named(version=1, digest=digest_of(octets))
            return open_roots(
                [octets], AnchorEntry(prefix=payload.prefix, name=payload.name, root=named)
            )
        roots = [root.octets for root in self.roots()]
        (pin,) = self.anchor().anchors
        return open_roots([*roots, octets], pin)

    def open_signed(self, file: DocumentFile, model: type[T]) -> T:
        """What a directory or items document says, signed as the root in force asks.

        Raises:
            RefusedError, UnavailableError: as `open_province`.
        """
        return open_as_directory_role(file.octets, file.kind, model, self.roots()[-1])

    def newest(self, kind: str, model: type[T]) -> tuple[T, Named] | None:
        """The newest directory, or items, that the directory's keys signed; None before the first.

        What an earlier root's keys signed does not count any more.
        """
        root = self.roots()[-1]
        newest: tuple[T, Named] | None = None
        for file in self.files():
            if file.kind == kind and self.holds(file, root):
                payload = open_as_directory_role(file.octets, kind, model, root)
                if newest is None or payload.version > newest[0].version:
                    named = Named(version=payload.version, digest=digest_of(file.octets))
                    newest = payload, named
        return newest

    def holds(self, file: DocumentFile, root: RootDocument) -> bool:
        """Whether enough of the directory's present keys signed a document."""
        role = root.payload.directory
        fewest = root.payload.revoking if file.kind == REVOCATION_TYPE else role.threshold
        return len(file.signers & set(role.keys)) >= fewest and file.signers <= set(role.keys)

    def latest_version(self, kind: str) -> int:
        """The highest version of a kind that was ever published here, whoever signed it."""
        versions = [payload_of(file).version for file in self.files() if file.kind == kind]
        return max(versions, default=0)

    def propose(self, payload: Payload, *, again: bool = False) -> Path:
        """Put a payload where it waits for signatures.

        Raises:
            CommandError: another one waits there.
        """
        octets = proposed_document(kind_of(payload), write_payload(payload))
        return self.put(octets, again=again)

    def propose_again(self, now_ms: int) -> list[Path]:
        """Propose the newest directory and items as next versions, if no present keys signed any.

        A root that takes a key out of the role makes void what that key signed.
        """
        paths: list[Path] = []
        for kind, model in ((DIRECTORY_TYPE, DirectoryPayload), (ITEMS_TYPE, ItemsPayload)):
            held = [payload_of(file) for file in self.files() if file.kind == kind]
            if held and self.newest(kind, model) is None:
                last = max(held, key=lambda payload: payload.version)
                changes = {"version": last.version + 1, "issued_ms": now_ms}
                paths.append(self.propose(last.model_copy(update=changes), again=True))
        return paths

    def put(self, octets: bytes, *, again: bool = False) -> Path:
        """Put a proposal, signed by some or by nobody, among those that wait.

        Raises:
            CommandError: another one waits there.
        """
        path = self.pending / file_name(read_document(self.pending, octets))
        if path.exists() and not again:
            what = f"{path}: 已有待签文件 a proposal waits there for signatures"
            remedy = "完成签署 finish it, 或加 or add --again（其签名作废 its signatures are lost）"
            raise CommandError(what, remedy, Exit.REFUSED)
        write_file(path, octets)
        return path

    def publish(self, file: DocumentFile) -> Path:
        """Move a complete document from the proposals to what nodes install."""
        path = self.published / file_name(file)
        write_file(path, file.octets)
        if file.path.parent == self.pending:
            file.path.unlink(missing_ok=True)
        return path

    def pin(self, name: str, prefix: str, root: bytes) -> None:
        """Write the trust anchor for the first root."""
        named = Named(version=1, digest=digest_of(root))
        anchor = TrustAnchor(anchors=(AnchorEntry(prefix=prefix, name=name, root=named),))
        write_file(self.anchor_file, anchor.model_dump_json(indent=1).encode() + b"\n")
