"""examples/demo/: the main job on one machine: eight nodes, real keys, real TLS, real cases.

* `command`: the command line's `demo`, from the first process to the last word.
* `folder`, `federation`, `processes`: the work folder; homes, keys and signed files in it; the
  nodes as processes.
* `desks`: the clerks and officers, each a client of their own node's local API only.
* `story`: what is filed where, and what happens to 襄阳 half-way.
* `gates`: how 襄阳 is reached, if not as everybody else.
* `table`, `watch`, `report`: what is shown. `audit`: what the nodes hold in the end.

An example of using nodes from outside: nothing here reaches into a running node. It may import
every room; no room imports it, `run_node.py` does.
"""

from __future__ import annotations
