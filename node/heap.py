"""The interpreter's garbage collector, told what kind of program this is.

Objects are freed when nothing refers to them any more; the collector only looks for those that
refer to each other in a circle, of which a node at work makes hardly any. It looks after every few
hundred new objects, though, and in the end at all there are: with some hundreds of messages under
way that was a sixth of a node's processor time, in pauses of some tenths of a second. So what the
start has made is never looked at again, and the rest more rarely.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

YOUNG: Final = 50_000
"""New containers until the collector looks: more than a full group of messages has at once (about
25 000), and some ten MiB if all of them were garbage."""


@contextmanager
def settled_heap() -> Iterator[None]:
    """All that is there now stays while the block runs. For the whole process."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
