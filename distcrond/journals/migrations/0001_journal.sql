-- Instants are microseconds since 1970 (UTC). Names of jobs and nodes, and ids of runs, are integers inside.

PRAGMA application_id = 0x64637264; -- "dcrd"

-- Whose journal this is: one row, as the last DaemonStarted said.
CREATE TABLE daemon (
    row        INTEGER PRIMARY KEY CHECK (row = 1),
    id         TEXT NOT NULL,
    generation INTEGER NOT NULL
);

-- How far a reader of the events has come: everything up to `seq` is done, and `part` pieces of what comes next.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL,
    part INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE events (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    type TEXT NOT NULL,
    v    INTEGER NOT NULL,
    run  INTEGER,                -- runs.ref
    body BLOB NOT NULL
);
CREATE INDEX events_of_run ON events (run) WHERE run IS NOT NULL;

CREATE TABLE definitions (
    job  INTEGER NOT NULL,       -- names.id
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (job, hash)
) WITHOUT ROWID;

CREATE TABLE job_states (
    job  INTEGER PRIMARY KEY,    -- names.id
    body BLOB NOT NULL
);

CREATE TABLE runs (
    ref        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    job        INTEGER NOT NULL, -- names.id
    scheduled  INTEGER NOT NULL,
    definition TEXT NOT NULL,
    open       TEXT,             -- the state until finished, then NULL: few rows, so its index stays small
    trouble    TEXT,             -- the outcome when finished and not success, else NULL: for the same reason
    duration   INTEGER,          -- milliseconds from the first attempt to the end
    requested  TEXT,             -- the key of a manual occurrence, else NULL
    document   BLOB NOT NULL     -- the run as the API serves it, JSON
);
CREATE INDEX runs_by_time ON runs (scheduled);
CREATE INDEX runs_of_job ON runs (job, scheduled);
CREATE INDEX runs_open ON runs (open, scheduled) WHERE open IS NOT NULL;
CREATE INDEX runs_in_trouble ON runs (trouble, scheduled) WHERE trouble IS NOT NULL;
CREATE INDEX runs_requested ON runs (job, requested) WHERE requested IS NOT NULL;
CREATE INDEX runs_of_job_in_trouble ON runs (job, trouble, scheduled) WHERE trouble IS NOT NULL;

-- Every node that an event of the run names. Ordered as a run list is.
CREATE TABLE run_nodes (
    node      INTEGER NOT NULL,  -- names.id
    scheduled INTEGER NOT NULL,
    run       INTEGER NOT NULL,  -- runs.ref
    PRIMARY KEY (node, scheduled, run)
) WITHOUT ROWID;

CREATE TABLE gaps (
    ref    INTEGER PRIMARY KEY,
    job    INTEGER NOT NULL,     -- names.id
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    exact  INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX gaps_by_time ON gaps (first);
CREATE INDEX gaps_of_job ON gaps (job, first);

-- Kept output in pieces of at most 64 KiB; `start` and `length` count bytes as printed.
CREATE TABLE output (
    ref     INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,    -- runs.ref
    target  INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stream  TEXT NOT NULL,
    start   INTEGER NOT NULL,
    length  INTEGER NOT NULL,
    packed  INTEGER NOT NULL,    -- 1: zlib
    data    BLOB NOT NULL
);
CREATE UNIQUE INDEX output_by_place ON output (run, target, attempt, stream, start);

-- rowid = runs.ref << 20 | piece. Contentless: 'delete' needs the old text, which `output` still has.
CREATE VIRTUAL TABLE output_text USING fts5 (
    text, content = '', columnsize = 0, tokenize = "unicode61 remove_diacritics 2"
);
