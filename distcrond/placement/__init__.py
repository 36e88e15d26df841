"""WHERE, pure: which nodes may take a run (with a reason for every "no"), and in which order they are preferred."""

from __future__ import annotations

from distcrond.placement.choose import Blocked, NodeView, choose, obstacle
from distcrond.placement.eligible import Candidates, candidates
from distcrond.placement.rank import rank
from distcrond.placement.slots import slots

__all__ = ["Blocked", "Candidates", "NodeView", "candidates", "choose", "obstacle", "rank", "slots"]
