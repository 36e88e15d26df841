"""Second stage of dispatch: which waiting targets get a node, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.desired import Desired, group_of
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.line import Line, Place
from distcrond.engine.dispatch.preempting import Preempting
from distcrond.engine.dispatch.rivals import Rivals, Slot
from distcrond.engine.dispatch.rolling import Rolling
from distcrond.engine.dispatch.zones import Zones, waits_since
from distcrond.engine.holds import PAUSED, Holds
from distcrond.engine.room import Room
from distcrond.engine.running.closing import Closing
from distcrond.engine.running.retrying import Retrying
from distcrond.engine.scribe import Scribe
from distcrond.model.event import Held, Superseded
from distcrond.model.ids import NodeName, RunId
from distcrond.model.node import Node
from distcrond.model.policy import Overlap
from distcrond.model.reason import FULL, UNTIMED, Reason
from distcrond.model.run import Outcome, Run, State, Target
from distcrond.placement import Blocked, Candidates, NodeView, candidates, choose, rank
from distcrond.placement.zones import turn
from distcrond.rules.deadline import target_deadline
from distcrond.rules.restored import UNKNOWN, may_have_run
from distcrond.rules.retry import avoided, bound_to, last_word
from distcrond.rules.rollout import Wait
from distcrond.rules.silence import given_up
from distcrond.rules.verdict import Verdict, replaced

_SHARED = frozenset({*FULL, Reason.DISK_FULL})
"""What keeps the targets of one lane waiting together."""
_SOON = timedelta(seconds=1)
Launch = Callable[[Slot, Node], None]
"""Begin an attempt of the slot on the node; `Placing.released` must follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """The disk of the journal or a zone forbids the start; as `Blocked`, but no node is to blame."""

    reason: Reason
    detail: str
    reasons: Mapping[NodeName, Reason] = field(default_factory=dict)
    hopeless: bool = False


class Placing:
    """Knows which slots wait and which use a node. Every decision is one pass: `consider`."""

    def __init__(
        self,
        *,
        scribe: Scribe,
        agenda: Agenda,
        desired: Desired,
        health: Health,
        holds: Holds,
        room: Room,
        zones: Zones,
        closing: Closing,
        retrying: Retrying,
        launch: Launch,
        stop: Callable[[Slot, Reason], None],
        poke: Callable[[], None],
    ) -> None:
        self._scribe = scribe
        self._agenda = agenda
        self._desired = desired
        self._health = health
        self._holds = holds
        self._room = room
        self._zones = zones
        self._closing = closing
        self._retrying = retrying
        self._launch = launch
        self._stop = stop
        self._poke = poke
        self._rivals = Rivals(scribe=scribe, desired=desired)
        self._line = Line()
        self._urgent: set[Slot] = set()
        self._active: dict[Slot, NodeName] = {}
        self._load: Counter[NodeName] = Counter()
        self._alarms: dict[Slot, tuple[datetime, Alarm]] = {}
        self._rolling = Rolling(agenda=agenda, is_active=self.is_active, poke=poke)
        self._preempting = Preempting(scribe=scribe, zones=zones, active=self._active, stop=stop)

    # ------------------------------------------------------------ who waits and who runs

    def open(self, run: Run) -> None:
        """Take in all slots of a run."""
        for target in run.targets:
            self.add((run.id, target.index))

    def add(self, slot: Slot) -> None:
        """Take in a slot that needs a node."""
        run = self._run(slot)
        target = run.targets[slot[1]]
        since, due = waits_since(run, target), run.occurrence.due
        self._line.add(Place(turn(since, run.job.priority), len(target.attempts), due, slot, _lane(run, target)))
        self.hurry(slot)

    def hurry(self, slot: Slot) -> None:
        """Look at this slot in the next pass, even if the nodes are known to be full."""
        self._urgent.add(slot)
        self._poke()

    def look_again(self) -> None:
        """Look at every slot in the next pass: nodes have changed, or what the files say of them."""
        self._line.open()
        self._poke()

    def occupy(self, slot: Slot, node: NodeName) -> None:
        """Count a slot against a node and its run's zones."""
        if slot not in self._active:
            self._active[slot] = node
            self._load[node] += 1
            self._zones.take(self._run(slot), slot, node)

    def released(self, slot: Slot) -> None:
        """The slot's attempt is over or never came to be; a target that still waits looks for a node again."""
        self._load[self._active.pop(slot)] -= 1
        self._zones.give(slot)
        self._line.open()
        run = self._scribe.ledger.runs.get(slot[0])
        if run is not None and run.targets[slot[1]].state is State.WAITING:
            self.add(slot)
        elif len(self._line):
            self._poke()

    def running_on(self, node: NodeName) -> int:
        """How many targets use the node now."""
        return self._load[node]

    def is_active(self, slot: Slot) -> bool:
        """Whether an attempt of the slot is under way."""
        return slot in self._active

    # ------------------------------------------------------------ one pass

    def consider(self, now: datetime) -> None:
        """Start, hold or close every waiting target, in the order of their turns.

        Many targets that wait for the same full nodes and zones, or for room on the disk, cost one look together, and
        none before one of them is released: a pass stays cheap while they queue.
        """
        urgent, self._urgent = self._urgent, set()
        self._rivals.begin_pass()
        self._rolling.begin_pass()
        self._zones.begin_pass()
        for slot in self._line.turns(urgent):
            run = self._scribe.ledger.runs.get(slot[0])
            if run is None or run.targets[slot[1]].state is not State.WAITING:
                self._line.remove(slot)
                continue
            if self._place(run, run.targets[slot[1]], now) in _SHARED:
                # The first of those who need zones says in every pass what it keeps from those behind it.
                self._line.close(slot, for_now=bool(run.job.zones))

    def _place(self, run: Run, target: Target, now: datetime) -> Reason | None:
        """Start the target, close it or leave it waiting; returns the obstacle, if there is one."""
        obstacle = self._before_nodes(run, target, now)
        return self._place_on_node(run, target, now) if obstacle is None else obstacle

    def _before_nodes(self, run: Run, target: Target, now: datetime) -> Reason | None:
        """What keeps a target from asking for a node, if anything does."""
        over = self._end_of_waiting(run, target)
        if over is not None:
            self._close(run, target, over.outcome, over.reason, over.detail)
            return over.reason
        wait = self._rolling.turn(run, target, now)
        if wait is not None:
            return self._await_turn(run, target, wait, now)
        rest = self._retrying.rest(run, target, now)
        if rest is None and target.retries and self._holds.rests(run):
            rest = Reason.PAUSED
        if rest is not None:
            return self._rest(run, target, rest, now)
        if target.fixed and self._rivals.each_node_decides(run.job) and not self._is_next_on_node(run, target, now):
            return Reason.OVERLAP
        return None

    def _place_on_node(self, run: Run, target: Target, now: datetime) -> Reason | None:
        chosen = self._choose(run, target, now)
        if isinstance(chosen, Blocked | NoRoom):
            return self._blocked(run, target, chosen, now)
        deadline = target_deadline(run, target)
        if deadline is not None and now > deadline:
            self._close(run, target, Outcome.MISSED, Reason.DEADLINE)
            return Reason.DEADLINE
        slot = (run.id, target.index)
        self._line.remove(slot)
        self._forget_alarm(slot)
        self.occupy(slot, chosen)
        self._rolling.changed(run.id)
        self._launch(slot, self._desired.catalog.nodes[chosen])
        return None

    def _end_of_waiting(self, run: Run, target: Target) -> Verdict | None:
        """What ends a wait for a node, whatever the nodes are."""
        if run.cancel_requested_by is not None:
            return Verdict(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED)
        if self._holds.skips(run):
            return PAUSED
        if target.superseded_by is not None:
            return replaced(target.superseded_by)
        return UNKNOWN if may_have_run(run.occurrence.due, self._scribe.ledger.restored_at) else None

    def _rest(self, run: Run, target: Target, rest: Reason | Verdict, now: datetime) -> Reason | None:
        """A target between two tries waits for the next one, or is over."""
        if isinstance(rest, Verdict):
            self._end(run, (run.id, target.index), rest)
            return rest.reason
        self._hold(run, target, rest, "", now)
        self._wake_between(run, target, target.retry_at if rest is Reason.RETRY else None)
        return rest

    # ------------------------------------------------------------ roll-outs

    def _await_turn(self, run: Run, target: Target, wait: Wait, now: datetime) -> Reason:
        """The start deadline does not count yet, unless it was the target's turn before and a node was missing."""
        if wait.reason is Reason.ROLLOUT_STOPPED:
            self._close(run, target, Outcome.MISSED, wait.reason, wait.detail)
        elif not self._is_early(run, target, now) and (target.reason is None or target.reason in UNTIMED):
            self._hold(run, target, wait.reason, wait.detail, now)
        return wait.reason

    # ------------------------------------------------------------ overlap

    def supersede(self, slot: Slot, by: RunId, now: datetime) -> None:
        """Let `by` take the slot's place: what runs is stopped, what waits is closed."""
        run, target = self._run(slot), self._run(slot).targets[slot[1]]
        if target.state is State.FINISHED or target.superseded_by is not None:
            return
        at_once = self._rivals.present(run.job).overlap is Overlap.TERMINATE
        self._scribe.record(Superseded(at=now, run=run.id, target=target.index, by=by, at_once=at_once))
        if self.is_active(slot) or target.state is State.RUNNING:
            self._stop(slot, Reason.SUPERSEDED)
        else:
            self.hurry(slot)

    def _is_next_on_node(self, run: Run, target: Target, now: datetime) -> bool:
        """Apply the overlap rule to the targets of one job on one node (`hosts: all`)."""
        slot = (run.id, target.index)
        decision = self._rivals.resolve(run.job, target.node, self._line)
        if slot in decision.start:
            return True
        if self._is_early(run, target, now):
            return False
        skipped = dict(decision.skip).get(slot)
        if skipped is not None:
            self._close(run, target, Outcome.SKIPPED, skipped)
            return False
        self._hold(run, target, Reason.OVERLAP, "", now)
        for predecessor, by in decision.replace:
            if by == slot:
                self.supersede(predecessor, run.id, now)
        return False

    def _run(self, slot: Slot) -> Run:
        return self._scribe.ledger.runs[slot[0]]

    # ------------------------------------------------------------ nodes

    def _choose(self, run: Run, target: Target, now: datetime) -> NodeName | Blocked | NoRoom:
        """A node, if the run's zones have room too. Who waits for what is full keeps its turn (`Zones.keep`)."""
        chosen = self._choose_node(run, target)
        if isinstance(chosen, Blocked):
            if chosen.reason in FULL:
                self._zones.keep(run, target, [name for name, why in chosen.reasons.items() if why in FULL], now)
            return chosen
        lacking = self._zones.lacking(run)
        if lacking:
            self._zones.keep(run, target, [chosen], now)
            return NoRoom(reason=Reason.ZONE_FULL, detail=lacking, reasons={chosen: Reason.ZONE_FULL})
        return NoRoom(reason=Reason.DISK_FULL, detail=self._room.why) if self._room.is_short else chosen

    def _choose_node(self, run: Run, target: Target) -> NodeName | Blocked:
        found = self._candidates(run, target)
        if target.fixed and not found.nodes:
            return Blocked(reasons=found.rejected, hopeless=True)
        stays = bound_to(run.job, target)
        views = [self._view(run, node) for node in found.nodes if stays in (None, node.name)]
        taken = frozenset() if target.fixed else self._taken(run, target) | given_up(target)
        for rather_not in avoided(run.job, target):
            chosen = choose(
                views,
                taken=taken | rather_not,
                refused=target.refused,
                durable=run.job.durable,
                last_resort=not rather_not,
                order=lambda free: rank(
                    run.job.placement.strategy,
                    free,
                    run=run.id,
                    running=self._load,
                    last=self._scribe.ledger.job(run.job.name).last_node,
                ),
            )
            if not isinstance(chosen, Blocked):
                break
        return chosen

    def _candidates(self, run: Run, target: Target) -> Candidates:
        if not target.fixed:
            return self._desired.candidates(group_of(run))
        only = self._desired.node(target.node) if target.node is not None else None
        asked = run.request.nodes if run.request is not None else ()
        return candidates(run.job.placement, () if only is None else (only,), asked=asked)

    def _taken(self, run: Run, target: Target) -> frozenset[NodeName]:
        """Nodes of the run's other targets: those on record, and those on their way to a node."""
        others = [other for other in run.targets if other.index != target.index]
        nodes = {other.node or self._active.get((run.id, other.index)) for other in others}
        return frozenset(node for node in nodes if node is not None)

    def _view(self, run: Run, node: Node) -> NodeView:
        status = self._health.status(node.name)
        return NodeView(
            node=node,
            state=status.state,
            reason=status.reason,
            running=self._load[node.name],
            drained=self._holds.bars(run, node.name),
            zone_full=self._zones.is_full_on(run, node.name),
            quarantined=self._holds.quarantine(node.name) is not None,
        )

    def _blocked(self, run: Run, target: Target, blocked: Blocked | NoRoom, now: datetime) -> Reason:
        if not self._is_early(run, target, now):
            self._wait_or_miss(run, target, blocked, now)
            if run.job.preempt and blocked.reason in FULL and self._is_next(run, target):
                nodes = [name for name, why in blocked.reasons.items() if why in FULL]
                self._preempting.make_room(run, map(self._desired.catalog.nodes.__getitem__, nodes), now)
                if self._preempting.is_starting():
                    self._agenda.after(_SOON, lambda: self.hurry((run.id, target.index)))
        return blocked.reason

    def _is_next(self, run: Run, target: Target) -> bool:
        """Whether the target waits, and what others give up would not go to somebody before it in the line."""
        slot = (run.id, target.index)
        if slot not in self._line:
            return False
        nodes = {node.name for node in self._candidates(run, target).nodes}
        for ahead in self._line.ahead(slot):
            other, its = self._run(ahead), self._run(ahead).targets[ahead[1]]
            if its.reason in FULL and (
                other.job.zones.keys() & run.job.zones.keys()
                or not nodes.isdisjoint(node.name for node in self._candidates(other, its).nodes)
            ):
                return False
        return True

    def _wait_or_miss(self, run: Run, target: Target, blocked: Blocked | NoRoom, now: datetime) -> None:
        if target.fixed and blocked.reason is Reason.DRAINED:
            # A node that somebody took out on purpose is no miss of a job that is for all nodes (SEMANTICS §5).
            self._close(run, target, Outcome.SKIPPED, Reason.DRAINED)
            return
        is_awaited = run.occurrence.trigger.is_awaited
        if blocked.hopeless or (is_awaited and blocked.reason not in FULL):
            self._close(run, target, Outcome.MISSED, blocked.reason, blocked.detail, again=not blocked.hopeless)
            return
        deadline = target_deadline(run, target)
        if deadline is not None and now >= deadline:
            reason = Reason.DEADLINE if blocked.reason is Reason.CAPACITY else blocked.reason
            self._close(run, target, Outcome.MISSED, reason, blocked.detail)
            return
        self._hold(run, target, blocked.reason, blocked.detail, now)
        held = self._run((run.id, target.index))
        self._wake_between(held, target, target_deadline(held, held.targets[target.index]))

    # ------------------------------------------------------------ what becomes of a target

    def _is_early(self, run: Run, target: Target, now: datetime) -> bool:
        """Nothing is decided against a target before it is due; look again then."""
        if now >= run.occurrence.due:
            return False
        self._wake((run.id, target.index), run.occurrence.due)
        return True

    def _hold(self, run: Run, target: Target, reason: Reason, detail: str, now: datetime) -> None:
        if target.reason is not reason:
            self._scribe.record(Held(at=now, run=run.id, target=target.index, reason=reason, detail=detail))

    def _close(
        self,
        run: Run,
        target: Target,
        outcome: Outcome,
        reason: Reason | None,
        detail: str = "",
        *,
        again: bool = True,
    ) -> None:
        """A target that has missed its time or found no node is tried `again`, if its job says so."""
        slot = (run.id, target.index)
        if outcome is Outcome.MISSED and target.attempts:
            detail = f"and no other node could take it: {detail or reason}"
        verdict = Verdict(outcome=outcome, reason=reason, detail=detail)
        if outcome is not Outcome.MISSED or not again:
            self._end(run, slot, last_word(target, verdict))
            return
        self._let_go(run, slot)
        if self._retrying.end(run, target, verdict):
            self.add(slot)

    def _end(self, run: Run, slot: Slot, verdict: Verdict) -> None:
        self._let_go(run, slot)
        self._closing.target(*slot, verdict)

    def _let_go(self, run: Run, slot: Slot) -> None:
        self._line.remove(slot)
        self._forget_alarm(slot)
        if run.job.rollout.paces:  # others may wait for it
            self._rolling.changed(run.id)
            self._poke()

    def _wake_between(self, run: Run, target: Target, instant: datetime | None) -> None:
        """Look at the target again then, or when nothing of it may begin any more."""
        barrier = self._retrying.barrier(run, target)
        if barrier is not None and (instant is None or barrier.instant < instant):
            instant = barrier.instant
        if instant is not None:
            self._wake((run.id, target.index), instant)

    def _wake(self, slot: Slot, instant: datetime) -> None:
        known = self._alarms.get(slot)
        if known is not None and known[0] == instant and known[1].pending:
            return
        self._forget_alarm(slot)
        self._alarms[slot] = (instant, self._agenda.at(instant, lambda: self.hurry(slot)))

    def _forget_alarm(self, slot: Slot) -> None:
        known = self._alarms.pop(slot, None)
        if known is not None:
            known[1].cancel()


def _lane(run: Run, target: Target) -> Hashable:
    """Targets of one lane need the same; one with nodes of its own shares it with nobody."""
    if len(run.targets) > 1 or target.fixed or target.refused or target.retries:
        return run.id, target.index
    return group_of(run), frozenset(run.job.zones.items())
