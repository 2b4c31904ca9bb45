from __future__ import annotations

import json
import multiprocessing
import stat
from typing import TYPE_CHECKING

import pytest

from node.keyfile import encode_key
from node.keystore import FileKeyStore, KeyEntry
from protocol.errors import LocalUseError
from signing.keys import KeyStore, KeyStoreError, KeyUse, SigningRequest
from signing.suites import Suite

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = "114201000110000000"
NODE = "420100"
NOW_MS = 1_795_316_400_000
PASSPHRASE = "一二三 correct".encode()


def entropy(number: int) -> bytes:
    return number.to_bytes(48)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "node" / "keys"


@pytest.fixture
def store(directory: Path) -> FileKeyStore:
    return FileKeyStore.create(directory)


def only_key_file(directory: Path) -> Path:
    (path,) = directory.glob("*.pem")
    return path


def refusal(directory: Path, passphrase: bytes | None = None) -> str:
    with pytest.raises(KeyStoreError) as caught:
        FileKeyStore(directory, passphrase)
    return str(caught.value)


@pytest.mark.parametrize("suite", Suite, ids=str)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["clear", "encrypted"])
def test_keys_survive_a_restart(directory: Path, suite: Suite, passphrase: bytes | None) -> None:
    first = FileKeyStore.create(directory, passphrase)
    public = first.create_key(KeyUse.ENVELOPE, AUTHORITY, suite, entropy(7), NOW_MS)
    store: KeyStore = FileKeyStore(directory, passphrase)
    key_id = store.find(KeyUse.ENVELOPE, AUTHORITY)
    assert key_id == public.key_id
    assert store.public(key_id) == public
    (signature,) = store.sign([SigningRequest(key_id, b"octets")])
    assert public.verify(b"octets", signature)


def test_only_the_owner_can_read_anything(store: FileKeyStore, directory: Path) -> None:
    store.create_key(KeyUse.RECEIPT, NODE, Suite.P256, entropy(1), NOW_MS)
    assert mode(directory) == 0o700
    files = list(directory.iterdir())
    assert len(files) == 2
    assert {mode(path) for path in files} == {0o600}


def test_the_index_lists_every_key(store: FileKeyStore, directory: Path) -> None:
    public = store.create_key(KeyUse.RECEIPT, NODE, Suite.ED25519, entropy(1), NOW_MS)
    file = f"receipt-420100-{public.key_id}.pem"
    expected = KeyEntry(public.key_id, KeyUse.RECEIPT, NODE, Suite.ED25519, file, NOW_MS)
    assert store.keys() == [expected]
    assert FileKeyStore(directory).keys() == [expected]
    assert only_key_file(directory).name == file
    (row,) = json.loads((directory / "index.json").read_text())["keys"]
    assert row == {
        "key_id": public.key_id,
        "use": "receipt",
        "owner": NODE,
        "suite": "ed25519",
        "file": file,
        "created_ms": NOW_MS,
    }


def test_signatures_come_in_the_order_of_the_requests(store: FileKeyStore) -> None:
    one = store.create_key(KeyUse.ENVELOPE, AUTHORITY, Suite.P256, entropy(1), NOW_MS)
    two = store.create_key(KeyUse.RECEIPT, NODE, Suite.ED25519, entropy(2), NOW_MS)
    asked = [(two, b"a"), (one, b"b"), (two, b"c")]
    signatures = store.sign([SigningRequest(key.key_id, octets) for key, octets in asked])
    assert len(signatures) == 3
    for (key, octets), signature in zip(asked, signatures, strict=True):
        assert key.verify(octets, signature)
    assert store.sign([]) == []


def test_the_newest_key_of_a_use_and_owner_is_found(store: FileKeyStore) -> None:
    new = store.create_key(KeyUse.RECEIPT, NODE, Suite.P256, entropy(1), NOW_MS + 1)
    store.create_key(KeyUse.RECEIPT, NODE, Suite.P256, entropy(2), NOW_MS)
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(3), NOW_MS + 2)
    store.create_key(KeyUse.RECEIPT, "420700", Suite.P256, entropy(4), NOW_MS + 2)
    assert store.find(KeyUse.RECEIPT, NODE) == new.key_id


def test_what_is_not_there_is_said_with_its_remedy(store: FileKeyStore) -> None:
    with pytest.raises(KeyStoreError, match=rf"no ping key of {NODE}.*run_node\.py keys"):
        store.find(KeyUse.PING, NODE)
    unknown = "A" * 43
    with pytest.raises(KeyStoreError, match=unknown):
        store.public(unknown)
    key = store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    with pytest.raises(KeyStoreError, match=unknown):
        store.sign([SigningRequest(key.key_id, b""), SigningRequest(unknown, b"")])


def test_entropy_used_twice_is_noticed(store: FileKeyStore, directory: Path) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(KeyStoreError, match="entropy twice"):
        store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("owner", ["", "../x", "a/b", "420100\n", "武汉", "x" * 33], ids=ascii)
def test_an_owner_that_is_no_code_never_becomes_a_file_name(
    store: FileKeyStore, directory: Path, owner: str
) -> None:
    with pytest.raises(LocalUseError):
        store.create_key(KeyUse.PING, owner, Suite.P256, entropy(1), NOW_MS)
    assert [path.name for path in directory.iterdir()] == ["index.json"]


def test_a_store_is_made_once_and_only_on_purpose(store: FileKeyStore, directory: Path) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    with pytest.raises(KeyStoreError, match="already a key store"):
        FileKeyStore.create(directory)
    assert len(FileKeyStore(directory).keys()) == 1
    assert "missing" in refusal(directory / "elsewhere")


def test_making_a_store_goes_on_after_a_crash_before_the_index(directory: Path) -> None:
    directory.mkdir(parents=True, mode=0o700)
    assert FileKeyStore.create(directory).keys() == []


def test_a_crash_between_key_and_index_leaves_a_working_store(
    store: FileKeyStore, directory: Path
) -> None:
    index = (directory / "index.json").read_bytes()
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    (directory / "index.json").write_bytes(index)
    (directory / ".unfinished-x").write_bytes(b"")
    again = FileKeyStore(directory)
    assert again.keys() == []
    again.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    assert len(FileKeyStore(directory).keys()) == 1


def test_a_missing_key_file_is_named(store: FileKeyStore, directory: Path) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    path = only_key_file(directory)
    path.unlink()
    message = refusal(directory)
    assert message.startswith(f"{path}: missing.")
    assert "backup" in message


@pytest.mark.parametrize("open_mode", [0o640, 0o604, 0o620, 0o666], ids=oct)
def test_a_key_others_can_touch_is_refused(
    store: FileKeyStore, directory: Path, open_mode: int
) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    for path, remedy in ((only_key_file(directory), "600"), (directory / "index.json", "600")):
        path.chmod(open_mode)
        message = refusal(directory)
        assert message.startswith(f"{path}: open to other users (mode {open_mode:04o}).")
        assert f"chmod {remedy} {path}" in message
        path.chmod(0o600)
    directory.chmod(0o755)
    assert f"chmod 700 {directory}" in refusal(directory)
    directory.chmod(0o700)
    assert len(FileKeyStore(directory).keys()) == 1


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["clear", "encrypted"])
@pytest.mark.parametrize("suite", Suite, ids=str)
def test_a_truncated_or_damaged_key_file_is_named(
    directory: Path, suite: Suite, passphrase: bytes | None
) -> None:
    store = FileKeyStore.create(directory, passphrase)
    store.create_key(KeyUse.PING, NODE, suite, entropy(1), NOW_MS)
    path = only_key_file(directory)
    whole = path.read_bytes()
    label = len(whole.splitlines()[0])
    damaged = [whole[:length] for length in (0, 10, label + 1, label + 9, len(whole) - 1)]
    lines = whole.splitlines(keepends=True)
    damaged += [b"".join([lines[0], *lines[2:]]), whole + b"x", b"\0" * len(whole)]
    for octets in damaged:
        path.write_bytes(octets)
        message = refusal(directory, passphrase)
        assert message.startswith(f"{path}: ")
        assert "backup" in message
    path.write_bytes(whole)
    assert FileKeyStore(directory, passphrase).keys() == store.keys()


@pytest.mark.parametrize("suite", Suite, ids=str)
def test_any_changed_octet_of_a_key_file_is_refused_and_named(
    store: FileKeyStore, directory: Path, suite: Suite
) -> None:
    store.create_key(KeyUse.PING, NODE, suite, entropy(1), NOW_MS)
    path = only_key_file(directory)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] = ord("B") if changed[place] == ord("A") else ord("A")
        path.write_bytes(bytes(changed))
        assert refusal(directory).startswith(f"{path}: ")


def test_a_key_that_is_not_the_indexed_one_is_refused(store: FileKeyStore, directory: Path) -> None:
    one = store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    two = store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(2), NOW_MS)
    path = directory / f"ping-{NODE}-{one.key_id}.pem"
    path.write_bytes((directory / f"ping-{NODE}-{two.key_id}.pem").read_bytes())
    message = refusal(directory)
    assert message.startswith(f"{path}: ")
    assert f"holds ecdsa-p256-sha256 key {two.key_id}" in message
    assert f"index says ecdsa-p256-sha256 key {one.key_id}" in message


def test_the_passphrase_is_needed_and_has_to_be_right(directory: Path) -> None:
    store = FileKeyStore.create(directory, PASSPHRASE)
    store.create_key(KeyUse.PING, NODE, Suite.SM2_SM3, entropy(1), NOW_MS)
    assert only_key_file(directory).read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY")
    assert "give the key store's passphrase" in refusal(directory)
    assert "wrong passphrase" in refusal(directory, PASSPHRASE + b".")


def test_a_wrong_passphrase_that_leaves_good_padding_is_called_wrong_too(directory: Path) -> None:
    """It happens once in 256 times; what comes out is no key."""
    store = FileKeyStore.create(directory, PASSPHRASE)
    store.create_key(KeyUse.PING, NODE, Suite.ED25519, entropy(1), NOW_MS)
    only_key_file(directory).write_bytes(encode_key(b"not what a key begins with", PASSPHRASE))
    assert "wrong passphrase" in refusal(directory, PASSPHRASE)


def test_a_key_encrypted_twice_looks_different(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        store = FileKeyStore.create(tmp_path / name, PASSPHRASE)
        store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
        files.append(only_key_file(tmp_path / name).read_bytes())
    assert files[0] != files[1]


@pytest.mark.parametrize(
    "index",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2, "keys": []}',
        '{"version": 1}',
        '{"version": 1, "keys": [1]}',
        '{"version": 1, "keys": [{}]}',
        '{"version": 1, "keys": {"a": 1}}',
    ],
)
def test_a_damaged_index_is_named(store: FileKeyStore, directory: Path, index: str) -> None:
    assert store.keys() == []
    path = directory / "index.json"
    path.write_text(index)
    message = refusal(directory)
    assert message.startswith(f"{path}: not a key index")
    assert "backup" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [("use", "everything"), ("suite", "rsa"), ("file", "../other.pem"), ("created_ms", "soon")],
    ids=["use", "suite", "file", "created_ms"],
)
def test_a_row_that_makes_no_sense_is_refused(
    store: FileKeyStore, directory: Path, field: str, value: str
) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    path = directory / "index.json"
    index = json.loads(path.read_text())
    index["keys"][0][field] = value
    path.write_text(json.dumps(index))
    assert refusal(directory).startswith(f"{path}: not a key index")


def test_no_message_or_text_form_shows_a_secret(store: FileKeyStore, directory: Path) -> None:
    secret = 0x5EC2E7_5EC2E7_5EC2E7_5EC2E7
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(secret), NOW_MS)
    path = only_key_file(directory)
    whole = path.read_bytes()
    texts = [repr(store), repr(store.keys()), repr(SigningRequest("id", b"\x5e\xc2\xe7"))]
    for octets in (whole[:-1], whole.replace(b"\n", b"\r\n"), whole[:40] + b"A" + whole[41:]):
        path.write_bytes(octets)
        texts.append(refusal(directory))
    body = "".join(whole.decode().splitlines()[1:-1])
    for text in texts:
        assert "5ec2e7" not in text.lower()
        assert r"\x5e\xc2\xe7" not in text
        assert not any(body[at : at + 12] in text for at in range(len(body) - 12))


def _make_keys(directory: Path, first: int) -> None:
    store = FileKeyStore(directory)
    for number in range(first, first + 10):
        store.create_key(KeyUse.PING, NODE, Suite.ED25519, entropy(number), NOW_MS)


def test_two_processes_may_make_keys_at_once(store: FileKeyStore, directory: Path) -> None:
    assert store.keys() == []
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_make_keys, args=(directory, n)) for n in (100, 200)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(FileKeyStore(directory).keys()) == 20


def test_a_full_disk_is_said_and_changes_nothing(
    store: FileKeyStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(1), NOW_MS)
    before = {path: path.read_bytes() for path in directory.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(KeyStoreError, match="No space left"):
            store.create_key(KeyUse.PING, NODE, Suite.P256, entropy(2), NOW_MS)
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert len(store.keys()) == 1
