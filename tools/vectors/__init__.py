"""Vectors: octets any implementation can be checked with, made here and kept in docs/spec/vectors.

``python -m tools.vectors`` writes them. Every octet is repeatable: keys come from names, instants
are fixed, and SM2, which has no deterministic form of its own, is signed here by textbook
arithmetic with a nonce drawn from key and message (`curves`). One module per family of cases; each
yields `cases.Case` values, and `__main__` writes them into folders.

The runner is tests/vectors/test_vectors.py. It reads the folders only and knows nothing of this.
"""
