"""Web: what people see in a browser: window, inbox, console (窗口 收件箱 控制台).

The window is for clerks who collect, the inbox for authorities that act, the console for operators.
May do IO, and may import every room below. No rule lives here: a page asks the node, which asks
the core.
"""

from __future__ import annotations
