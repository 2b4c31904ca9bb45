from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node.clock import SystemClock
from node.tls import TlsIdentity, create_identity
from tests.integration.https_carrier.kit import EZHOU, WUHAN, XIANGYANG

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TlsIdentity]:
    def identity(node: str) -> TlsIdentity:
        now_ms = SystemClock().now_ms()
        return create_identity(tmp_path_factory.mktemp(node), node, ["127.0.0.1"], now_ms)

    return identity


@pytest.fixture(scope="module")
def wuhan(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(WUHAN)


@pytest.fixture(scope="module")
def xiangyang(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(XIANGYANG)


@pytest.fixture(scope="module")
def ezhou(make: Callable[[str], TlsIdentity]) -> TlsIdentity:
    return make(EZHOU)


@pytest.fixture(scope="module")
def pins(wuhan: TlsIdentity, xiangyang: TlsIdentity, ezhou: TlsIdentity) -> dict[str, bytes]:
    return {identity.node: identity.certificate for identity in (wuhan, xiangyang, ezhou)}
