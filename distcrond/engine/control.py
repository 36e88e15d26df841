"""What people may change: the verbs of API and CLI, each a check, a recorded fact and a poke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from distcrond.model.ids import JobName, NodeName, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to run a job now.

    `key` is the Idempotency-Key: the same one for the same job within a day answers the same run; empty = always a new
    run. `force` ignores overlap. `nodes` replaces the policy's choice. `scheduled_at` is recorded as the nominal
    instant instead of now.
    """

    job: JobName
    by: str
    key: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[NodeName, ...] = ()
    force: bool = False
    scheduled_at: datetime | None = None


class Control:
    """Every method answers once the wish is durable; what becomes of it shows in the run."""

    async def trigger(self, order: Order) -> RunId:
        """Run a job now.

        Raises:
            NotFound: no such job or node.
            Conflict: a manual run of the job waits already (SEMANTICS §4), or the job is disabled.
        """
        raise NotImplementedError

    async def cancel(self, run: RunId, *, by: str) -> None:
        """End an open run: TERM, grace, KILL on its nodes; what waits never starts.

        Raises:
            NotFound: no such run.
            Conflict: it has finished already.
        """
        raise NotImplementedError

    async def probe(self, node: NodeName) -> None:
        """Look at a node now instead of at the next health check.

        Raises:
            NotFound: no such node.
        """
        raise NotImplementedError
