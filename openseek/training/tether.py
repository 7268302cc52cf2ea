"""Run a command that ends with its parent: `python -m openseek.training.tether PARENT COMMAND...`.

The kernel's promise (PR_SET_PDEATHSIG) is made by the child itself, and outlives exec.
"""

from __future__ import annotations

import os
import sys

from openseek.training.spawner import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
