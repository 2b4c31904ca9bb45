"""Set up what `make demo` or `make test` needs: `.venv/` from a lock, Debian's tools for the tests.

Runs on a bare Python 3.11 or newer, with nothing installed. Safe to stop at any moment and to run
again: a stamp inside `.venv/` is written last, so what is not stamped is not trusted. Where an
installation was cut short, the next starts from an empty `.venv/` (a package cut in half looks
whole to pip); its downloads are in pip's cache and are not repeated.
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
VENV_PYTHON: Final = VENV / "bin" / "python"
STAMP: Final = VENV / "tongban-setup.json"
LOCKS: Final = {"demo": ROOT / "requirements.lock", "test": ROOT / "requirements-dev.lock"}
# command -> Debian's package; the tests check our signatures against these
DEBIAN_TOOLS: Final = {
    "git": "git",
    "javac": "default-jdk-headless",
    "openssl": "openssl",
    "xmlsec1": "xmlsec1",
}
# Debian keeps the server's programs, one folder per version, out of the path.
POSTGRES: Final = ("/usr/lib/postgresql/*/bin/postgres", "postgresql")


def say(line: str) -> None:
    """Say what is being done."""
    print(f"[setup] {line}", flush=True)


def stop(what: str, remedy: str) -> NoReturn:
    """Stop with what went wrong and what to do about it."""
    print(f"\n[setup] {what}\n[setup] Remedy: {remedy}", file=sys.stderr, flush=True)
    raise SystemExit(1)


# --- Debian's packages


def apt_install(packages: list[str], purpose: str) -> None:
    """Install Debian packages, or stop and say how a person can."""
    command = "apt-get install --no-install-recommends " + " ".join(packages)
    if shutil.which("apt-get") is None:
        stop(
            f"{purpose} needs {' '.join(packages)} (Debian packages), and there is no apt-get.",
            "install the same programs with the system's own package manager, then run this again.",
        )
    if os.geteuid() != 0:
        stop(
            f"{purpose} needs these Debian packages: {' '.join(packages)}.",
            f"run as root: {command}\n[setup]         then run this again.",
        )
    say(f"{command}   ({purpose})")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [*command.split(), "-y", "-q", "-o=Dpkg::Use-Pty=0"]
    if subprocess.run(install, env=environment, check=False).returncode == 0:
        return
    say("that failed; the package lists may be old: apt-get update, then once more")
    subprocess.run(["apt-get", "update", "-q"], env=environment, check=False)
    if subprocess.run(install, env=environment, check=False).returncode != 0:
        stop(
            "apt-get could not install them; its own message is above.",
            "mend what it names (network? another apt running?), then run this again.",
        )


def install_debian_tools() -> None:
    """Install the programs the tests compare with, where they are missing."""
    missing = [package for tool, package in DEBIAN_TOOLS.items() if shutil.which(tool) is None]
    pattern, package = POSTGRES
    if not glob.glob(pattern):  # noqa: PTH207 -- an absolute pattern
        missing.append(package)
    if missing:
        apt_install(missing, "the test run")


# --- .venv


def identity(python: str | Path) -> str | None:
    """Version and home of an interpreter; None where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.base_prefix)"
    try:
        run = subprocess.run([python, "-Ic", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def fingerprint(lock: Path) -> str:
    """What the stamp keeps of a lock."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def read_stamp() -> dict[str, str]:
    """What was completed in this `.venv/`; empty where nothing was."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """Replace the stamp in one step."""
    draft = STAMP.with_suffix(".draft")
    draft.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    draft.replace(STAMP)


def make_venv(guard: int) -> None:
    """Make an empty `.venv/` with pip in it."""
    if VENV.exists():
        say("removing the old or unfinished .venv")
        shutil.rmtree(VENV)
    say(f"making .venv with Python {sys.version.split()[0]}")
    command = [sys.executable, "-m", "venv", str(VENV)]
    if subprocess.run(command, capture_output=True, check=False, pass_fds=[guard]).returncode == 0:
        return
    # Debian keeps venv's pip in a package of its own.
    shutil.rmtree(VENV, ignore_errors=True)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    apt_install([package], f"making a virtual environment with {sys.executable}")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        stop(
            f"python -m venv failed: {(run.stderr or run.stdout).strip()}",
            "use another Python, as in: make PYTHON=/path/to/python3.12",
        )


def install_packages(lock: Path, guard: int) -> None:
    """Install everything a lock names, showing how far it is."""
    total = sum(line[:1].isalnum() for line in lock.read_text(encoding="utf-8").splitlines())
    say(f"installing {lock.name}: up to {total} packages, each checked against its hash")
    options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    pip = subprocess.Popen(
        [VENV_PYTHON, "-m", "pip", "install", *options, "--progress-bar=off", "-r", lock],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[guard],
    )
    assert pip.stdout is not None  # noqa: S101 -- a pipe was asked for
    output: list[str] = []
    count = 0
    for line in pip.stdout:
        output.append(line)
        match line.split():
            case ["Collecting", name, *_] | ["Requirement", "already", "satisfied:", name, *_]:
                count += 1
                show_progress(f"  {count}/{total} {name}")
            case ["Installing", "collected", *_]:
                show_progress("  unpacking")
            case _:
                pass
    show_progress("", last=True)
    if pip.wait() != 0:
        sys.stderr.writelines(output[-20:])
        stop(
            "pip could not install the packages; its own message is above.",
            "check the network, or name a mirror in PIP_INDEX_URL; then run this again "
            "(what was downloaded is kept).",
        )


def show_progress(text: str, *, last: bool = False) -> None:
    """Rewrite one line on a terminal; in a log, a line each."""
    if sys.stdout.isatty():
        print(f"\r\033[K{text}", end="", flush=True)
    elif not last:
        print(text, flush=True)


def set_up(purpose: str, guard: int) -> None:
    """Bring `.venv/` to what `purpose` ("demo" or "test") needs; what is there already stays."""
    own = identity(sys.executable) or stop("Python does not start.", "name another: make PYTHON=…")
    stamp = read_stamp()
    # The scripts in .venv/bin name the folder they were made in: a moved checkout starts anew.
    made = {"python": own, "folder": str(VENV)}
    whole = made.items() <= stamp.items() and identity(VENV_PYTHON) == own
    want = {name: fingerprint(lock) for name, lock in LOCKS.items()}
    if whole and stamp.get(purpose) == want[purpose]:
        return
    if not whole:
        make_venv(guard)
    STAMP.unlink(missing_ok=True)  # from here on it is unfinished
    install_packages(LOCKS[purpose], guard)
    # The lock of the tests holds everything in the other, at the same versions.
    done = [purpose] if purpose == "demo" else ["demo", "test"]
    write_stamp(made | {name: want[name] for name in done})
    say(".venv is ready")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("purpose", choices=sorted(LOCKS))
    purpose = parser.parse_args().purpose
    # One at a time in a checkout. Children inherit the lock: a pip that outlives its killed parent
    # must not write into the `.venv/` that the next run makes.
    guard = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another setup is at work in this checkout; waiting for it")
        fcntl.flock(guard, fcntl.LOCK_EX)
    set_up(purpose, guard)
    if purpose == "test":
        install_debian_tools()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        stop("interrupted.", "run the same command again; it goes on from here.")
    except OSError as error:
        stop(f"{error}.", "check free disk space and who owns .venv/, then run this again.")
