"""PARTS FOR TESTS of distcrond and of plug-ins for it: virtual time, nodes in memory, a journal that fails on demand.

    clock       FakeClock: the Clock port on time that moves only when told to
    executor    ScriptedExecutor: the Executor port on nodes that do what a Script says and remember what began
    journal     GatedJournal: a Journal that can be held up, broken or crashed

Nothing here needs a test framework, a thread, a file or real time.
"""

from __future__ import annotations

from distcrond.testing.clock import FakeClock
from distcrond.testing.executor import Execution, Script, ScriptedExecutor, ScriptedNode, Survives
from distcrond.testing.journal import GatedJournal

__all__ = ["Execution", "FakeClock", "GatedJournal", "Script", "ScriptedExecutor", "ScriptedNode", "Survives"]
