"""The command line (命令行): one module per group of commands; `run_node.py` puts them together.

It lives inside the runtime because it is a shell around the runtime: it starts a node, makes its
home, or asks a running node over its local API as any other client would. So whatever it can do, a
program can do without it, and nothing below knows that it exists.

* `ending`: the exit codes, and how an error is told: what, where, remedy; never a traceback.
* `output`: JSON for programs, words for people.
* `local`: the client of the local API, also for programs of our own.

A command module has `add_to(app)`, and is imported only when its command is called: eight nodes
that start at once should not also read what `directory sign` needs.
"""

from __future__ import annotations
