"""schemas/: the published forms of what nodes say to each other (XSD), as package data.

``envelope.xsd`` is the envelope, ``common.xsd`` the types that bodies share (a chameleon include:
it takes the namespace of the schema that includes it), and there is one XSD per kind of body. The
composition root compiles them once and hands them to the core, which reads no files. Imports
nothing of Tongban.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER: Final = Path(__file__).resolve().parent


@cache
def compiled() -> Mapping[str, etree.XMLSchema]:
    """Every schema that has a target namespace, compiled, by that namespace.

    Read from this package's own files on the first call and kept. A compiled schema may serve
    several threads, but its error log belongs to the last validation (`protocol.wire.first_fault`).
    """
    schemas: dict[str, etree.XMLSchema] = {}
    for path in sorted(FOLDER.glob("*.xsd")):
        document = etree.parse(path, etree.XMLParser(no_network=True, resolve_entities=False))
        namespace = document.getroot().get("targetNamespace")
        if namespace is not None:
            schemas[namespace] = etree.XMLSchema(document)
    return MappingProxyType(schemas)
