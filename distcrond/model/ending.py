"""Which outcomes of a run the words mean in which other jobs speak of it (SEMANTICS §8)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from distcrond.model.chain import Ending
from distcrond.model.run import Outcome

FAILURES = frozenset({Outcome.FAILURE, Outcome.PARTIAL, Outcome.TIMEOUT, Outcome.LOST, Outcome.MISSED})
"""What did not go well: not what was skipped by rule or cancelled by hand."""

ENDINGS: Mapping[Ending, frozenset[Outcome]] = MappingProxyType(
    {
        Ending.SUCCESS: frozenset({Outcome.SUCCESS}),
        Ending.FAILURE: FAILURES,
        Ending.FINISHED: frozenset(Outcome) - {Outcome.SKIPPED},
    }
)
