"""The local API (本地接口): what a unit's own systems and people ask of their node, in JSON.

Requests are read strictly and bounded before anything is believed (`reading`, `forms`); what goes
wrong is answered with a problem document that names the rule and the remedy (`problems`). The rooms
behind a request are `cases`, `inbox`, `messages`, `lookup` and `health`; `openapi.json` says the
same to programs, and a test holds both together. Only `app` knows HTTP routes and the token.
"""

from __future__ import annotations
