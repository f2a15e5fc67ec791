-- The queue of fold jobs and everything that its results are made from. Times are milliseconds since 1970 by the
-- coordinator's clock. Digests are BLAKE3 in hexadecimal.

-- Blobs that are whole and verified; the bytes are in the state folder, under their digest.
CREATE TABLE artifacts (
    digest     TEXT PRIMARY KEY NOT NULL,
    kind       TEXT NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    created_ms INTEGER NOT NULL
) STRICT;

-- One submission of N folds. `number` is the order of submission.
CREATE TABLE job_sets (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    request_id        TEXT NOT NULL UNIQUE,
    -- Of the whole request: a repeated id with another content is refused.
    request_digest    TEXT NOT NULL,
    spec_json         TEXT NOT NULL,
    train_digest      TEXT NOT NULL REFERENCES artifacts (digest),
    hpa_digest        TEXT REFERENCES artifacts (digest),
    test_digest       TEXT REFERENCES artifacts (digest),
    weights_digest    TEXT REFERENCES artifacts (digest),
    folds_digest      TEXT NOT NULL REFERENCES artifacts (digest),
    state             TEXT NOT NULL CHECK (state IN ('training', 'predicting', 'succeeded', 'failed', 'cancelled')),
    state_reason      TEXT NOT NULL DEFAULT '',
    -- Its jobs are not leased, and running ones are given back.
    paused            INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    oof_digest        TEXT REFERENCES artifacts (digest),
    report_digest     TEXT REFERENCES artifacts (digest),
    submission_digest TEXT REFERENCES artifacts (digest),
    macro_f1          REAL,
    threshold         REAL,
    created_ms        INTEGER NOT NULL,
    updated_ms        INTEGER NOT NULL
) STRICT;

-- One fold's training, or one fold's prediction of the test list.
CREATE TABLE jobs (
    id                       INTEGER PRIMARY KEY AUTOINCREMENT,
    job_set_id               TEXT NOT NULL REFERENCES job_sets (id),
    kind                     TEXT NOT NULL CHECK (kind IN ('train', 'predict')),
    fold                     INTEGER NOT NULL CHECK (fold BETWEEN 0 AND 99),
    state                    TEXT NOT NULL CHECK (state IN ('queued', 'leased', 'succeeded', 'failed', 'cancelled')),
    state_reason             TEXT NOT NULL DEFAULT '',
    -- The number of the newest lease, which is the fence. It only ever grows.
    attempt                  INTEGER NOT NULL DEFAULT 0,
    worker_name              TEXT NOT NULL DEFAULT '',
    lease_request_id         TEXT NOT NULL DEFAULT '',
    lease_expires_ms         INTEGER NOT NULL DEFAULT 0,
    not_before_ms            INTEGER NOT NULL DEFAULT 0,
    -- The newest report of the newest attempt; 0 before the first.
    report_sequence          INTEGER NOT NULL DEFAULT 0,
    phase                    INTEGER NOT NULL DEFAULT 0,
    epoch                    INTEGER NOT NULL DEFAULT 0,
    step                     INTEGER NOT NULL DEFAULT 0,
    step_count               INTEGER NOT NULL DEFAULT 0,
    loss                     REAL,
    learning_rate            REAL,
    images_per_second        REAL NOT NULL DEFAULT 0,
    -- When phase, epoch or step last changed under this lease; a lease that is renewed and does not advance is stalled.
    advanced_ms              INTEGER NOT NULL DEFAULT 0,
    stalled                  INTEGER NOT NULL DEFAULT 0 CHECK (stalled IN (0, 1)),
    result_digest            TEXT REFERENCES artifacts (digest),
    -- The checkpoint that made the result; predict jobs score with it.
    result_checkpoint_digest TEXT REFERENCES artifacts (digest),
    made_by_json             TEXT NOT NULL DEFAULT '',
    UNIQUE (job_set_id, kind, fold),
    -- A job succeeded exactly when it has a result.
    CHECK ((state = 'succeeded') = (result_digest IS NOT NULL))
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, not_before_ms);

-- Every attempt that ended without a result: budgets are counted by cause.
CREATE TABLE failures (
    job_id      INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    cause       TEXT NOT NULL,
    message     TEXT NOT NULL,
    worker_name TEXT NOT NULL,
    -- A retry by the user forgives what was before it.
    forgiven    INTEGER NOT NULL DEFAULT 0,
    time_ms     INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt)
) STRICT;

-- One row per epoch; an attempt that goes on from a checkpoint writes over the epochs that it trains again.
CREATE TABLE epoch_metrics (
    job_id           INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    epoch            INTEGER NOT NULL,
    train_loss       REAL NOT NULL,
    valid_loss       REAL NOT NULL,
    valid_macro_f1   REAL NOT NULL,
    valid_threshold  REAL NOT NULL,
    learning_rate    REAL NOT NULL,
    duration_seconds REAL NOT NULL,
    PRIMARY KEY (job_id, epoch)
) STRICT;

-- Checkpoints that a job can go on from, or score with.
CREATE TABLE checkpoints (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    role       TEXT NOT NULL CHECK (role IN ('last', 'best')),
    digest     TEXT NOT NULL REFERENCES artifacts (digest),
    epoch      INTEGER NOT NULL,
    step       INTEGER NOT NULL,
    macro_f1   REAL,
    created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX checkpoints_by_job ON checkpoints (job_id, role, id);

-- What happened, append-only. A watch reads it from any cursor.
CREATE TABLE events (
    cursor     INTEGER PRIMARY KEY AUTOINCREMENT,
    job_set_id TEXT NOT NULL REFERENCES job_sets (id),
    -- 0 when it is about the job set.
    job_id     INTEGER NOT NULL,
    time_ms    INTEGER NOT NULL,
    name       TEXT NOT NULL,
    message    TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job_set ON events (job_set_id, cursor);

CREATE TABLE workers (
    name         TEXT PRIMARY KEY NOT NULL,
    device       TEXT NOT NULL,
    version      TEXT NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    -- It is given no jobs, and gives back the one that it holds.
    draining     INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1))
) STRICT;
