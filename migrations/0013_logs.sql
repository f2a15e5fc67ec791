-- What workers said during attempts. Times are those of the worker's clock.
CREATE TABLE log_lines (
    cursor      INTEGER PRIMARY KEY AUTOINCREMENT,
    job_set_id  TEXT NOT NULL REFERENCES job_sets (id) ON DELETE CASCADE,
    job_id      INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    -- Counted by the worker from 1; a line that is sent again is the same line.
    number      INTEGER NOT NULL,
    worker_name TEXT NOT NULL,
    time_ms     INTEGER NOT NULL,
    level       TEXT NOT NULL CHECK (level IN ('error', 'warn', 'info')),
    message     TEXT NOT NULL,
    UNIQUE (job_id, attempt, number)
) STRICT;
CREATE INDEX log_lines_by_job_set ON log_lines (job_set_id, cursor);
