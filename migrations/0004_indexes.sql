-- What is asked for often is found by an index, however many job sets wait.

-- The order in which jobs are leased: by job set in the order of submission, train jobs before predict jobs, then by fold.
ALTER TABLE jobs ADD COLUMN pick_order INTEGER NOT NULL DEFAULT 0;
-- As in job_sets.
ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
UPDATE jobs SET
    pick_order = (SELECT number FROM job_sets WHERE id = job_set_id) * 200 + CASE kind WHEN 'train' THEN 0 ELSE 100 END + fold,
    paused = (SELECT paused FROM job_sets WHERE id = job_set_id);

DROP INDEX jobs_by_state;
CREATE INDEX jobs_to_lease ON jobs (pick_order, not_before_ms) WHERE state = 'queued' AND paused = 0;
CREATE INDEX jobs_by_expiry ON jobs (lease_expires_ms) WHERE state = 'leased';
CREATE INDEX jobs_by_progress ON jobs (advanced_ms) WHERE state = 'leased';
CREATE INDEX jobs_by_worker ON jobs (worker_name) WHERE state = 'leased';

-- The best epoch of a job.
CREATE INDEX epochs_by_macro_f1 ON epoch_metrics (job_id, valid_macro_f1);

CREATE INDEX unfinished_job_sets ON job_sets (number) WHERE state IN ('training', 'predicting');

-- References to artifacts: deleting one looks for each of them.
CREATE INDEX artifacts_by_age ON artifacts (kind, created_ms);
CREATE INDEX job_sets_by_train ON job_sets (train_digest);
CREATE INDEX job_sets_by_hpa ON job_sets (hpa_digest) WHERE hpa_digest IS NOT NULL;
CREATE INDEX job_sets_by_test ON job_sets (test_digest) WHERE test_digest IS NOT NULL;
CREATE INDEX job_sets_by_weights ON job_sets (weights_digest) WHERE weights_digest IS NOT NULL;
CREATE INDEX job_sets_by_folds ON job_sets (folds_digest);
CREATE INDEX job_sets_by_oof ON job_sets (oof_digest) WHERE oof_digest IS NOT NULL;
CREATE INDEX job_sets_by_report ON job_sets (report_digest) WHERE report_digest IS NOT NULL;
CREATE INDEX job_sets_by_submission ON job_sets (submission_digest) WHERE submission_digest IS NOT NULL;
CREATE INDEX jobs_by_result ON jobs (result_digest) WHERE result_digest IS NOT NULL;
CREATE INDEX jobs_by_checkpoint ON jobs (result_checkpoint_digest) WHERE result_checkpoint_digest IS NOT NULL;
CREATE INDEX checkpoints_by_digest ON checkpoints (digest);
CREATE INDEX fits_by_oof ON fits (oof_digest);
CREATE INDEX fits_by_report ON fits (report_digest);
CREATE INDEX fits_by_submission ON fits (submission_digest) WHERE submission_digest IS NOT NULL;
CREATE INDEX fit_folds_by_result ON fit_folds (result_digest);
CREATE INDEX fit_folds_by_checkpoint ON fit_folds (checkpoint_digest) WHERE checkpoint_digest IS NOT NULL;
