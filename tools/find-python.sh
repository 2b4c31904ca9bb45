#!/bin/sh
# Print the Python to build .venv with: $PYTHON if given, else the one .venv was made with, else
# `python3` if it is 3.11 or newer, else the newest python3.x on the PATH. Needs nothing but sh.
set -u

# Print the real interpreter behind $1 (a virtual environment's is the one it was made with).
base_of() {
    "$1" -c '
import os, sys
if sys.version_info < (3, 11): sys.exit(1)
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    base_of "$PYTHON" && exit 0
    echo "PYTHON=$PYTHON does not run, or is older than 3.11." >&2
    echo "Remedy: name another, as in: make $1 PYTHON=/path/to/python3.12" >&2
    exit 1
fi
for candidate in .venv/bin/python python3 \
    python3.20 python3.19 python3.18 python3.17 python3.16 python3.15 \
    python3.14 python3.13 python3.12 python3.11; do
    base_of "$candidate" && exit 0
done
echo "Tongban needs Python 3.11 or newer, and none is on the PATH." >&2
echo "Remedy: install one (Debian, Ubuntu: apt-get install python3 python3-venv)," >&2
echo "or name one: make $1 PYTHON=/path/to/python3.12" >&2
exit 1
