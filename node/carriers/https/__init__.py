"""The HTTPS carrier: one route for messages, one for the directory, bounded in every direction.

`PeerListener` takes posts from peers, `HttpsTransport` makes them. Who the other end is, its pinned
certificate says (node/tls.py) and nothing else.
"""

from __future__ import annotations

from node.carriers.https.listener import Exchange, ListenerLimits, PeerListener, WaitingRoom
from node.carriers.https.transport import Endpoint, HttpsTransport, TransportLimits
from node.carriers.https.wire import EXCHANGE_PATH

__all__ = [
    "EXCHANGE_PATH",
    "Endpoint",
    "Exchange",
    "HttpsTransport",
    "ListenerLimits",
    "PeerListener",
    "TransportLimits",
    "WaitingRoom",
]
