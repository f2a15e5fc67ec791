-- Workers that cannot use the images of a job set. They get none of its jobs until they register again or a user retries it.
CREATE TABLE exclusions (
    job_set_id  TEXT NOT NULL REFERENCES job_sets (id),
    worker_name TEXT NOT NULL,
    -- Why, in the words of the worker.
    message     TEXT NOT NULL,
    -- When it began, or the coordinator was started again since.
    since_ms    INTEGER NOT NULL,
    PRIMARY KEY (job_set_id, worker_name)
) STRICT;
CREATE INDEX exclusions_by_worker ON exclusions (worker_name);

-- The search for a free job also looks at the job set.
DROP INDEX jobs_to_lease;
CREATE INDEX jobs_to_lease ON jobs (pick_order, not_before_ms, job_set_id) WHERE state = 'queued' AND paused = 0;
