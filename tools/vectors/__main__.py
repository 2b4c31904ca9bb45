"""Write docs/spec/vectors: ``python -m tools.vectors``."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.vectors import (
    algorithms,
    batch,
    batch_refusals,
    bodies,
    body_rules,
    directory_beside,
    directory_history,
    directory_others,
    directory_roots,
    directory_rules,
    directory_signers,
    directory_time,
    documents,
    envelope,
    envelope_values,
    evidence,
    evidence_log,
    evidence_story,
    exchange_arriving,
    exchange_federation,
    exchange_forwarding,
    exchange_origin,
    exchange_parts,
    exchange_receiving,
    exchange_sequences,
    forged,
    frame_refusals,
    frames,
    keyinfo,
    log,
    log_shown,
    log_signed,
    manifests,
    parts,
    public_keys,
    ranges,
    receipt_refusals,
    receipts,
    registration,
    transforms,
    values,
    wire,
    wire_documents,
    wrapping,
)
from tools.vectors.cases import Case, Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors"
MAKERS: Final[tuple[Callable[[], Iterable[Case | Shared]], ...]] = (
    wire.cases,
    wire_documents.cases,
    envelope.cases,
    envelope_values.cases,
    manifests.cases,
    wrapping.cases,
    transforms.cases,
    algorithms.cases,
    keyinfo.cases,
    values.cases,
    ranges.cases,
    registration.cases,
    forged.cases,
    batch.cases,
    batch_refusals.cases,
    receipts.cases,
    receipt_refusals.cases,
    frames.cases,
    frame_refusals.cases,
    parts.cases,
    documents.cases,
    public_keys.cases,
    bodies.cases,
    body_rules.cases,
    evidence.cases,
    evidence_story.cases,
    evidence_log.cases,
    directory_signers.cases,
    directory_roots.cases,
    directory_time.cases,
    directory_history.cases,
    directory_others.cases,
    directory_rules.cases,
    directory_beside.cases,
    log.cases,
    log_signed.cases,
    log_shown.cases,
    exchange_federation.cases,
    exchange_receiving.cases,
    exchange_arriving.cases,
    exchange_sequences.cases,
    exchange_parts.cases,
    exchange_forwarding.cases,
    exchange_origin.cases,
)
"""Whoever makes cases; a group belongs to them whole."""


def made() -> dict[str, Case | Shared]:
    """Every case, and what cases share, by its folder."""
    found: dict[str, Case | Shared] = {}
    for maker in MAKERS:
        for case in maker():
            if case.folder in found:
                message = f"two cases are called {case.folder}"
                raise ValueError(message)
            found[case.folder] = case
    return found


def main() -> None:
    """Write every case, and remove what is no longer made."""
    cases = made()
    for group in {case.group for case in cases.values()}:
        shutil.rmtree(FOLDER / group, ignore_errors=True)
    for name, case in cases.items():
        folder = FOLDER / name
        folder.mkdir(parents=True)
        for file, octets in case.octets().items():
            path = folder / file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(octets)
    counts = Counter(
        (case.group, case.expect is None) for case in cases.values() if isinstance(case, Case)
    )
    for group in sorted({group for group, _ in counts}):
        print(f"{group}: {counts[group, True]} valid, {counts[group, False]} _fail")


if __name__ == "__main__":
    main()
