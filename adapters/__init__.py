"""Adapters: local application formats to and from the standard message (适配层).

What a department's own system speaks (SOAP, REST, exchange tables, files) is translated here.
May do IO. May import the core (routing, signing, protocol) and `schemas`; never `node` or `web`:
the node starts an adapter, an adapter does not know the node.
"""

from __future__ import annotations
