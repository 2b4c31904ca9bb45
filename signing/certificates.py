"""Certificates of nodes (节点证书): whom one names. Whether to believe it, the directory says."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from protocol.errors import RefusedError
from protocol.reasons import Reason


def named_in(certificate: bytes) -> tuple[str, ...]:
    """The common names (CN) of a certificate's subject, in order.

    Args:
        certificate: X.509, DER.

    Raises:
        RefusedError: KEY_MALFORMED: no certificate.
    """
    try:
        subject = x509.load_der_x509_certificate(certificate).subject
    except ValueError as error:
        detail = f"no X.509 certificate in DER: {str(error)[:80]}"
        raise RefusedError(Reason.KEY_MALFORMED, detail) from error
    return tuple(str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME))
