"""signing/: who said it, and how anyone can check.

The three suites, the narrow signature profile, the verifier with its numbered steps, receipts'
signatures, signed documents, the trust set and the evidence file. No IO, no clock, no randomness;
keys stand behind the `KeyStore` port. May import protocol/ and schemas/.
"""
