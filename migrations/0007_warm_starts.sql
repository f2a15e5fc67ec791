-- Folds that begin from the models of another job set, and pauses at a time.

-- The job set whose models the folds begin from, which may have been deleted since; NULL for other initial weights.
ALTER TABLE job_sets ADD COLUMN warm_start_of TEXT;

-- The model that a fold begins from.
CREATE TABLE warm_starts (
    job_set_id        TEXT NOT NULL REFERENCES job_sets (id),
    fold              INTEGER NOT NULL,
    checkpoint_digest TEXT NOT NULL REFERENCES artifacts (digest),
    PRIMARY KEY (job_set_id, fold)
) STRICT;
CREATE INDEX warm_starts_by_checkpoint ON warm_starts (checkpoint_digest);

-- When the job set is to be paused; NULL for not.
ALTER TABLE job_sets ADD COLUMN pause_at_ms INTEGER;
CREATE INDEX job_sets_to_pause ON job_sets (pause_at_ms) WHERE pause_at_ms IS NOT NULL;
