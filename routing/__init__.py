"""routing/: which authority is responsible, which way leads there, and when to try again.

Directory, catalogue, jurisdiction, route planning and the rules of delivery, as pure functions of
signed data, link health and an instant. No IO, no clock, no randomness. May import signing/,
protocol/, schemas/.
"""
