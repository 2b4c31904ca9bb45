"""The ferry: hand-overs as files in two folders, for one-way gates between networks (网闸摆渡).

    node A                                              node B
    out/  ->  the gate, which nobody here controls  ->  in/
    in/   <-  another gate, or the same             <-  out/

A gate may rename files, strip their extension, pass small ones only, take minutes, lose or double
them, and write them slowly. So names mean nothing, a file says for itself whose it is and how long
(`protocol.ferry_file`), and nothing depends on any one file arriving: what was not answered goes
again in another (`node.ferry`).

`folders` moves octets, `ferry` knows numbers, keys and which files belong together.
"""

from __future__ import annotations

from node.carriers.ferry.ferry import Arrived, Ferry, FerryTerms
from node.carriers.ferry.folders import Folders

__all__ = ["Arrived", "Ferry", "FerryTerms", "Folders"]
