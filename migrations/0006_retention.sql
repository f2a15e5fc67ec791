-- What nobody refers to any more is deleted at once, if nobody else has wanted it.

-- How often an artifact was uploaded or asked for. `created_ms` is when that was last, and -1 after a release.
ALTER TABLE artifacts ADD COLUMN times_wanted INTEGER NOT NULL DEFAULT 0;
-- `artifacts.times_wanted` when the checkpoint was recorded. If it has not grown since, nobody else wants the artifact.
ALTER TABLE checkpoints ADD COLUMN times_wanted INTEGER NOT NULL DEFAULT 0;

-- A trained fold resumes nowhere: it needs the checkpoint that scored, which `jobs` names.
DELETE FROM checkpoints WHERE EXISTS (
    SELECT 1 FROM jobs j WHERE j.id = checkpoints.job_id AND j.state = 'succeeded' AND j.result_checkpoint_digest <> checkpoints.digest);

-- Every kind of artifact is deleted when it is unreferenced, not only those of workers.
DROP INDEX artifacts_by_age;
CREATE INDEX artifacts_by_age ON artifacts (created_ms);

-- For the limit of days after which a job set is deleted.
CREATE INDEX ended_job_sets ON job_sets (updated_ms) WHERE state IN ('succeeded', 'failed', 'cancelled');
