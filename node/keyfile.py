"""One private key in one file: PEM of PKCS#8, encrypted under a passphrase, written atomically.

The encrypted form is PBES2 with scrypt (N = 16384, r = 8, p = 1) and AES-256-CBC, the same for
every suite (RFC 8018, RFC 7914 §7); `openssl pkey` reads it.
Sources of the remaining form: RFC 7468 (PEM), RFC 5958 (PKCS#8).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

from signing.keys import KeyStoreError

_PEM: Final = re.compile(
    rb"\A-----BEGIN ((?:ENCRYPTED )?PRIVATE KEY)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n\Z"
)
_PEM_LINE: Final = 64
_BLOCK: Final = 16  # octets of an AES block, of the salt, and of the initialisation vector
# AlgorithmIdentifier {PBES2, {{scrypt, {salt, 16384, 8, 1}}, {aes256-CBC, initialisation vector}}}.
_BEFORE_SALT: Final = bytes.fromhex(
    "305706092a864886f70d01050d304a302906092b06010401da47040b301c0410"
)
_BEFORE_START: Final = bytes.fromhex("02024000020108020101301d060960864801650304012a0410")


def write_private_file(path: Path, octets: bytes) -> None:
    """Put octets in a file that only its owner can read: after a crash all of them or none.

    Raises:
        KeyStoreError: the disk refused; what was there before still is.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".unfinished-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror}). Make room or mend the directory."
        raise KeyStoreError(message) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_private(path: Path, remedy_mode: str) -> None:
    """Refuse what is not there, or what others than the owner may touch.

    Args:
        path: File or directory.
        remedy_mode: What to tell chmod, such as "600".

    Raises:
        KeyStoreError: with the remedy.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError as error:
        message = f"{path}: missing. Restore it from the backup, or make and register new keys."
        raise KeyStoreError(message) from error
    except OSError as error:
        message = f"{path}: cannot be examined ({error.strerror}). Mend the path above it."
        raise KeyStoreError(message) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = (
            f"{path}: open to other users (mode {mode:04o}). Run: chmod {remedy_mode} {path}; "
            "if others could log in here, replace the key as well."
        )
        raise KeyStoreError(message)


def read_private_file(path: Path) -> bytes:
    """The octets of a file that only its owner can read.

    Raises:
        KeyStoreError: missing, open to others, or unreadable.
    """
    check_private(path, "600")
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}). Run the node as the file's owner."
        raise KeyStoreError(message) from error


def encode_key(pkcs8: bytes, passphrase: bytes | None) -> bytes:
    """The PEM octets of a PrivateKeyInfo, encrypted when there is a passphrase."""
    if passphrase is None:
        return _pem(b"PRIVATE KEY", pkcs8)
    salt, start = os.urandom(_BLOCK), os.urandom(_BLOCK)
    padder = PKCS7(_BLOCK * 8).padder()
    encryptor = _cipher(passphrase, salt, start).encryptor()
    ciphertext = encryptor.update(padder.update(pkcs8) + padder.finalize()) + encryptor.finalize()
    return _pem(b"ENCRYPTED PRIVATE KEY", _encrypted_info(salt, start, ciphertext))


def decode_key(octets: bytes, passphrase: bytes | None) -> bytes:
    """The PrivateKeyInfo in PEM octets.

    Raises:
        ValueError: says in one line what is wrong: truncated, encrypted and no passphrase, wrong
            passphrase, or encrypted in another way. Never quotes key material.
    """
    match = _PEM.match(octets)
    try:
        der = base64.b64decode(match[2].replace(b"\n", b""), validate=True) if match else b""
    except binascii.Error:
        der = b""
    if match is None or not der:
        message = "truncated, or not a PEM private key; restore the file from the backup"
        raise ValueError(message)
    if match[1] == b"PRIVATE KEY":
        return der
    if passphrase is None:
        message = "encrypted; give the key store's passphrase"
        raise ValueError(message)
    return _decrypt(der, passphrase)


def _decrypt(der: bytes, passphrase: bytes) -> bytes:
    _, _, variable = der.partition(_BEFORE_SALT)
    salt = variable[:_BLOCK]
    start = variable[_BLOCK + len(_BEFORE_START) :][:_BLOCK]
    # The ciphertext is whole blocks; its own tag and length, shorter than one, stand before it.
    rest = variable[_BLOCK + len(_BEFORE_START) + _BLOCK :]
    ciphertext = rest[len(rest) % _BLOCK :]
    if _encrypted_info(salt, start, ciphertext) != der:
        message = "encrypted in another way than this store does; restore the file from the backup"
        raise ValueError(message)
    decryptor = _cipher(passphrase, salt, start).decryptor()
    unpadder = PKCS7(_BLOCK * 8).unpadder()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    try:
        plain = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        plain = b""
    # One wrong passphrase in 256 leaves good padding behind; hardly any leaves a DER sequence.
    if not any(plain == _tlv(0x30, plain[head:]) for head in (2, 3)):
        message = "wrong passphrase, or the file is damaged"
        raise ValueError(message)
    return plain


def _cipher(passphrase: bytes, salt: bytes, start: bytes) -> Cipher[modes.CBC]:
    key = Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(passphrase)
    return Cipher(algorithms.AES256(key), modes.CBC(start))


def _encrypted_info(salt: bytes, start: bytes, ciphertext: bytes) -> bytes:
    """EncryptedPrivateKeyInfo, DER."""
    algorithm = _BEFORE_SALT + salt + _BEFORE_START + start
    return _tlv(0x30, algorithm + _tlv(0x04, ciphertext))


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag, size] if size < 0x80 else [tag, 0x81, size]) + content  # noqa: PLR2004


def _pem(label: bytes, der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE)]
    return b"\n".join([b"-----BEGIN %b-----" % label, *lines, b"-----END %b-----" % label, b""])
