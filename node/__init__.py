"""Node: the runtime around the core (节点运行时).

Store, peer listener and client, dispatchers, local API, configuration. All IO lives here, behind
the ports that the simulator also implements: the engine asks the core what to do, then does it.
May import `adapters` and the core; never `web`.
"""

from __future__ import annotations
