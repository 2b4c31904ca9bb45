"""Settings of the whole test run; fixtures live beside the tests that use them."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says nothing about whether it is right.
settings.register_profile("tongban", deadline=None, print_blob=True)
if settings.get_current_profile_name() == "default":
    settings.load_profile("tongban")
