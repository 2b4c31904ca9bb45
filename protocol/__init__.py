"""protocol/: what is said between nodes, and nothing about how it gets there.

The wire form, the envelope, the bodies, receipts, frames, the lifecycle of a case, the closed list
of reasons and the limits. No IO, no clock, no randomness: octets and instants come in as arguments.
May import schemas/ (data) and nothing above itself.
"""
