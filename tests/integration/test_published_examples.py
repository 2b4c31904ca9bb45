"""The standards' own examples with the openssl command line, and the arithmetic vectors rest on."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from signing.encodings import SM2_FORM, der_from_raw
from signing.keys import KeyUse
from signing.sm2_openssl import load_openssl
from signing.sm2_tongsuopy import load_tongsuopy
from signing.suites import Suite, digest, load_public_key, private_key_from_entropy
from tests.messages import WUHAN
from tools.vectors import curves
from tools.vectors.__main__ import FOLDER
from tools.vectors.samples import SteadyKey, key_for

if TYPE_CHECKING:
    from pathlib import Path

    from signing.sm2 import Sm2Provider

PROVIDERS: dict[str, Sm2Provider] = {"openssl": load_openssl(), "tongsuopy": load_tongsuopy()}

# GB/T 32905-2016, annex A.
SM3 = {
    b"abc": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
    b"abcd" * 16: "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
}

# GB/T 32918.5-2017, annex A.2: a signature on the recommended curve.
MESSAGE = b"message digest"
SECRET = 0x3945208F_7B2144B1_3F36E38A_C6D39F95_88939369_2860B51A_42FB81EF_4DF7C5B8
PUBLIC = (
    0x09F9DF31_1E5421A1_50DD7D16_1E4BC5C6_72179FAD_1833FC07_6BB08FF3_56F35020,
    0xCCEA490C_E26775A5_2DC6EA71_8CC1AA60_0AED05FB_F35E084A_6632F607_2DA9AD13,
)
Z = "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
E = "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640"
NONCE = 0x59276E27_D506861A_16680F3A_D9C02DCC_EF3CC1FA_3CDBE4CE_6D54B80D_EAC1BC21
SIGNATURE = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)


def spki_of(point: tuple[int, int]) -> bytes:
    return SM2_FORM.spki_prefix + point[0].to_bytes(32) + point[1].to_bytes(32)


def openssl_takes(spki: bytes, octets: bytes, signature: bytes, folder: Path) -> bool:
    """Whether the command line verifies an SM2 signature r‖s."""
    key, message, value = (folder / name for name in ("key.der", "message", "signature"))
    key.write_bytes(spki)
    message.write_bytes(octets)
    value.write_bytes(der_from_raw(signature) or b"")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(key)]
    command += ["-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678"]
    command += ["-sigfile", str(value), "-in", str(message)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert ("Successfully" in said) is not ("Failure" in said), said
    return "Successfully" in said


@pytest.mark.spec("SU-1")
@pytest.mark.parametrize("message", SM3)
def test_the_sm3_examples(message: bytes, tmp_path: Path) -> None:
    assert digest(Suite.SM2_SM3, message).hex() == SM3[message]
    file = tmp_path / "message"
    file.write_bytes(message)
    command = ["openssl", "dgst", "-sm3", "-binary", str(file)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stdout.hex() == SM3[message]
    assert all(provider.sm3(message).hex() == SM3[message] for provider in PROVIDERS.values())


@pytest.mark.spec("SU-6")
def test_the_sm2_example_step_by_step(tmp_path: Path) -> None:
    """Key, Z, e, r and s as the standard prints them; and everybody verifies them."""
    assert curves.SM2.public(SECRET) == PUBLIC
    assert curves.sm2_z(PUBLIC).hex() == Z
    assert digest(Suite.SM2_SM3, bytes.fromhex(Z) + MESSAGE).hex() == E
    assert curves.sm2_sign(SECRET, MESSAGE, NONCE) == SIGNATURE
    spki = spki_of(PUBLIC)
    for provider in PROVIDERS.values():
        key = load_public_key(Suite.SM2_SM3, spki, sm2=provider)
        assert key.verify(MESSAGE, SIGNATURE)
        assert not key.verify(MESSAGE + b".", SIGNATURE)
    assert openssl_takes(spki, MESSAGE, SIGNATURE, tmp_path)
    assert not openssl_takes(spki, MESSAGE + b".", SIGNATURE, tmp_path)


def test_openssl_verifies_the_sm2_vectors_and_no_bent_one(tmp_path: Path) -> None:
    good = FOLDER / "signature" / "good-sm2-sm3"
    case = json.loads((good / "case.json").read_bytes())
    spki = base64.b64decode(case["keys"][0]["spki"])
    info = (good / "signed-info.xml").read_bytes()

    def value_of(folder: Path) -> bytes:
        text = (folder / "envelope.xml").read_text(encoding="utf-8")
        found = re.search("<ds:SignatureValue>(.*)</ds:SignatureValue>", text)
        assert found is not None
        return base64.b64decode(found[1])

    bent = sorted((FOLDER / "signature").glob("value-sm2-sm3-*_fail"))
    assert len(bent) > 10
    assert openssl_takes(spki, info, value_of(good), tmp_path)
    for folder in bent:
        assert not openssl_takes(spki, info, value_of(folder), tmp_path), folder.name
        for provider in PROVIDERS.values():
            key = load_public_key(Suite.SM2_SM3, spki, sm2=provider)
            assert not key.verify(info, value_of(folder)), folder.name


@pytest.mark.parametrize("provider", PROVIDERS)
def test_textbook_sm2_signatures_verify(provider: str) -> None:
    for number in range(4):
        key = SteadyKey.of(private_key_from_entropy(Suite.SM2_SM3, bytes([number]) * 48))
        public = load_public_key(Suite.SM2_SM3, key.public.spki, sm2=PROVIDERS[provider])
        assert public.verify(MESSAGE, key.sign(MESSAGE))
        assert key.sign(MESSAGE) == key.sign(MESSAGE)


@pytest.mark.spec("SU-7")
def test_the_stray_torsion_holds_with_the_cofactor_and_not_without() -> None:
    """Else the vector would be refused for being plain wrong, which shows nothing."""
    key = key_for(KeyUse.ENVELOPE, WUHAN, Suite.ED25519)
    assert curves.ed_sign(key.secret, MESSAGE) == key.sign(MESSAGE)
    signature = curves.ed_sign(key.secret, MESSAGE, curves.ed_torsion())
    assert not key.public.verify(MESSAGE, signature)
    encoded, s = signature[:32], int.from_bytes(signature[32:], "little")
    public = key.public.spki[-32:]
    k = int.from_bytes(hashlib.sha512(encoded + public + MESSAGE).digest(), "little")
    left = curves.ed_times(s, curves.ED_BASE)
    right = curves.ed_add(curves.ed_decode(encoded), curves.ed_times(k, curves.ed_decode(public)))
    assert left != right
    assert curves.ed_times(8, left) == curves.ed_times(8, right)
