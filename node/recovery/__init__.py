"""Back from an old backup: a node notices that it lost something, and gets it from its peers.

A node whose store went back would give numbers it gave before, sign receipts that contradict those
it signed, and know nothing of what it acknowledged. So it signs nothing and takes nothing before it
is what it was (design, section 6):

* `marker`: what the node remembers beside its store, to notice that the store alone went back;
* `gate`: the phases, and what a node says and hears that does not work yet;
* `asking`, `answering`: the two sides of a recall; `recall`: its pages, of what concerns who asks;
* `believing`: what of a recalled message is proven; `restore`: the rows it becomes, as they were;
* `replay`: what recalled messages do to their case, in the one order both ends have;
* `ending`: the log goes on as a new incarnation;
* `state`: what is remembered of it all, so that a node killed in the middle goes on.

Nothing here believes a peer: what counts is what this node signed itself, what its authorities
signed, and what destinations signed. A peer can keep something back; it cannot make anything up.
"""

from __future__ import annotations
