"""The whole surface of the API: one line of facts per route, in the order of CONTRACT §3."""

from __future__ import annotations

from distcrond.api import events, jobs, nodes, ops, output, runs, sinks
from distcrond.api.auth import Scope
from distcrond.api.openapi import openapi_handler
from distcrond.api.parameters import CURSOR, MAX_LIMIT, Kind, Parameter, limit
from distcrond.api.route import Answer, Route
from distcrond.api.schemas import NOTHING, RUN_REQUEST
from distcrond.model.run import Outcome, State, Stream

_LARGEST_OFFSET = 2**53
_WHOLE_LIST = (CURSOR, limit(default=MAX_LIMIT))
_JOB = Parameter(name="job", kind=Kind.TEXT, meaning="only of this job", most=127)
_RUN_FILTERS = (
    Parameter(name="node", kind=Kind.TEXT, meaning="only with a target on this node", most=63),
    Parameter(name="state", kind=Kind.TEXT, meaning="only in this state", choices=tuple(State)),
    Parameter(name="outcome", kind=Kind.TEXT, meaning="only with this outcome", choices=tuple(Outcome)),
    Parameter(name="since", kind=Kind.AGO, meaning="scheduled at or after; `2h` = two hours ago"),
    Parameter(name="until", kind=Kind.AGO, meaning="scheduled before; `2h` = two hours ago"),
    Parameter(name="q", kind=Kind.TEXT, meaning="all these words in the output"),
    CURSOR,
    limit(),
)
_UNTIL_AHEAD = Parameter(name="until", kind=Kind.AHEAD, meaning="not later than; `2h` = two hours from now")
_OUTPUT = (
    Parameter(name="node", kind=Kind.TEXT, meaning="which target; needed if there are several", most=63),
    Parameter(name="stream", kind=Kind.TEXT, meaning="the only one, else stdout", choices=tuple(Stream)),
    Parameter(name="attempt", kind=Kind.INTEGER, meaning="its number; the latest", least=1, most=1_000_000),
    Parameter(
        name="offset",
        kind=Kind.INTEGER,
        meaning="byte to begin with; negative = from the end",
        least=-_LARGEST_OFFSET,
        most=_LARGEST_OFFSET,
        default=0,
    ),
    Parameter(name="follow", kind=Kind.FLAG, meaning="1 = go on until the run ends"),
)
_WAIT = (
    Parameter(name="wait", kind=Kind.INTEGER, meaning="seconds to wait for the end", least=0, most=60, default=0),
    Parameter(
        name="revision",
        kind=Kind.INTEGER,
        meaning="answer once it is another one, be it by more output",
        least=0,
        most=_LARGEST_OFFSET,
    ),
)
_OUTPUT_HEADERS = {
    "X-Next-Offset": "go on from here; the same as before = nothing more is kept now",
    "X-Output-Offset": "the offset of the first byte, where no hole precedes it",
    "X-Output-Hole": "`start-stop, …`: printed and not kept, `stop` not included",
    "X-Output-Node": "where it ran",
    "X-Output-Attempt": "which attempt it is",
}

_API = (
    Route(
        method="GET",
        path="/api/v1/jobs",
        scope=Scope.READ,
        handler=jobs.list_jobs,
        summary="All jobs",
        parameters=_WHOLE_LIST,
        answer=Answer(schema="Jobs"),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{job}",
        scope=Scope.READ,
        handler=jobs.show_job,
        summary="One job with its last failures and figures",
        answer=Answer(schema="Job"),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{job}/runs",
        scope=Scope.READ,
        handler=runs.list_runs_of_job,
        summary="Runs of one job",
        parameters=_RUN_FILTERS,
        answer=Answer(schema="Runs"),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{job}/reports",
        scope=Scope.READ,
        handler=jobs.list_reports,
        summary="Finished runs in the original report shape",
        parameters=(limit(default=20),),
        answer=Answer(schema="Reports"),
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{job}/next",
        scope=Scope.READ,
        handler=jobs.list_next,
        summary="Coming occurrences of one job",
        parameters=(
            Parameter(name="count", kind=Kind.INTEGER, meaning="how many", least=1, most=MAX_LIMIT, default=10),
            _UNTIL_AHEAD,
        ),
        answer=Answer(schema="Coming"),
    ),
    Route(
        method="POST",
        path="/api/v1/jobs/{job}/run",
        scope=Scope.OPERATE,
        handler=jobs.run_job,
        summary="Run a job now",
        headers={"Idempotency-Key": "the same key within a day answers the same run"},
        body=RUN_REQUEST,
        refusals=(409,),
        answer=Answer(status=202, schema="RunStarted", headers={"Location": "the run"}),
    ),
    Route(
        method="GET",
        path="/api/v1/runs",
        scope=Scope.READ,
        handler=runs.list_runs,
        summary="Runs, newest scheduled first",
        parameters=(_JOB, *_RUN_FILTERS),
        answer=Answer(schema="Runs"),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{run}",
        scope=Scope.READ,
        handler=runs.show_run,
        summary="One run; with `wait`, once it has finished or changed",
        parameters=_WAIT,
        answer=Answer(schema="Run"),
    ),
    Route(
        method="GET",
        path="/api/v1/runs/{run}/output",
        scope=Scope.READ,
        handler=output.show_output,
        summary="Output of a run by offset, or followed",
        headers={"Last-Event-ID": "what an event stream had seen"},
        parameters=_OUTPUT,
        answer=Answer(media_type="text/plain", headers=_OUTPUT_HEADERS),
        more_answers=(Answer(media_type="text/event-stream", headers=_OUTPUT_HEADERS),),
    ),
    Route(
        method="POST",
        path="/api/v1/runs/{run}/cancel",
        scope=Scope.OPERATE,
        handler=runs.cancel_run,
        summary="End an open run",
        body=NOTHING,
        refusals=(409,),
        answer=Answer(status=202, schema="RunStarted"),
    ),
    Route(
        method="GET",
        path="/api/v1/nodes",
        scope=Scope.READ,
        handler=nodes.list_nodes,
        summary="All nodes",
        parameters=_WHOLE_LIST,
        answer=Answer(schema="Nodes"),
    ),
    Route(
        method="GET",
        path="/api/v1/nodes/{node}",
        scope=Scope.READ,
        handler=nodes.show_node,
        summary="One node",
        answer=Answer(schema="Node"),
    ),
    Route(
        method="POST",
        path="/api/v1/nodes/{node}/probe",
        scope=Scope.OPERATE,
        handler=nodes.probe_node,
        summary="Look at a node now",
        body=NOTHING,
        answer=Answer(status=202, schema="NodeNamed"),
    ),
    Route(
        method="GET",
        path="/api/v1/upcoming",
        scope=Scope.READ,
        handler=ops.list_upcoming,
        summary="Coming occurrences of all jobs",
        parameters=(_UNTIL_AHEAD, limit()),
        answer=Answer(schema="Coming"),
    ),
    Route(
        method="GET",
        path="/api/v1/events",
        scope=Scope.READ,
        handler=events.follow_events,
        summary="What happens, as server-sent events; the id of each is for `Last-Event-ID` or `after`",
        headers={"Last-Event-ID": "the last event that was seen"},
        parameters=(
            _JOB,
            Parameter(name="node", kind=Kind.TEXT, meaning="only what names this node", most=63),
            Parameter(
                name="after", kind=Kind.INTEGER, meaning="begin after this id; now", least=0, most=_LARGEST_OFFSET
            ),
        ),
        answer=Answer(media_type="text/event-stream"),
        head=False,
    ),
    Route(
        method="GET",
        path="/api/v1/stats",
        scope=Scope.READ,
        handler=ops.show_stats,
        summary="Counters for a glance",
        answer=Answer(schema="Stats"),
    ),
    Route(
        method="GET",
        path="/api/v1/sinks",
        scope=Scope.READ,
        handler=sinks.list_sinks,
        summary="Where reports go, and how that goes",
        answer=Answer(schema="Sinks"),
    ),
    Route(
        method="GET",
        path="/api/v1/sinks/{sink}",
        scope=Scope.READ,
        handler=sinks.show_sink,
        summary="One sink",
        answer=Answer(schema="Sink"),
    ),
    Route(
        method="POST",
        path="/api/v1/sinks/{sink}/reindex",
        scope=Scope.OPERATE,
        handler=sinks.reindex,
        summary="Tell a sink everything again",
        body=NOTHING,
        refusals=(409,),
        answer=Answer(status=202, schema="Reindex"),
    ),
    Route(
        method="POST",
        path="/api/v1/sinks/{sink}/setup",
        scope=Scope.OPERATE,
        handler=sinks.setup,
        summary="Make a sink's place ready",
        body=NOTHING,
        refusals=(502,),
        answer=Answer(status=202, schema="SinkNamed"),
    ),
    Route(
        method="POST",
        path="/api/v1/reload",
        scope=Scope.OPERATE,
        handler=ops.reload,
        summary="Read the files again",
        body=NOTHING,
        answer=Answer(schema="Reloaded"),
    ),
    Route(
        method="GET",
        path="/api/v1/config/problems",
        scope=Scope.READ,
        handler=ops.list_problems,
        summary="What is wrong with the files",
        answer=Answer(schema="FileProblems"),
    ),
    Route(
        method="GET",
        path="/-/healthy",
        scope=Scope.OPEN,
        handler=ops.show_health,
        summary="Does it do its work?",
        answer=Answer(schema="Health"),
        more_answers=(Answer(status=503, schema="Health"),),
    ),
    Route(
        method="GET",
        path="/-/ready",
        scope=Scope.OPEN,
        handler=ops.show_readiness,
        summary="Has it begun its work?",
        answer=Answer(schema="Health"),
        more_answers=(Answer(status=503, schema="Health"),),
    ),
    Route(
        method="GET",
        path="/-/enter/{token}",
        scope=Scope.OPEN,
        handler=ops.enter,
        summary="Begin a browser session with a one-time link",
        answer=Answer(status=303, headers={"Location": "the first page"}),
        head=False,
    ),
)

ROUTES: tuple[Route, ...] = (
    *_API,
    Route(
        method="GET",
        path="/api/v1/openapi.json",
        scope=Scope.READ,
        handler=openapi_handler(_API),
        summary="This document",
        answer=Answer(schema="Any"),
    ),
)
