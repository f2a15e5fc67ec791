-- Objectives other than macro F1, and job sets without one threshold for all classes.

-- The value of the spec's objective, if it is neither macro F1 nor the loss, and its score, of which higher is better.
ALTER TABLE epoch_metrics ADD COLUMN valid_objective REAL;
ALTER TABLE epoch_metrics ADD COLUMN score REAL NOT NULL DEFAULT 0;
UPDATE epoch_metrics SET score = valid_macro_f1;
DROP INDEX epochs_by_macro_f1;
CREATE INDEX epochs_by_score ON epoch_metrics (job_id, score);

-- NULL where there is none: SQLite can only replace a column that is NOT NULL.
ALTER TABLE epoch_metrics ADD COLUMN best_threshold REAL;
UPDATE epoch_metrics SET best_threshold = valid_threshold;
ALTER TABLE epoch_metrics DROP COLUMN valid_threshold;
ALTER TABLE epoch_metrics RENAME COLUMN best_threshold TO valid_threshold;

ALTER TABLE fits ADD COLUMN one_threshold REAL;
UPDATE fits SET one_threshold = threshold;
ALTER TABLE fits DROP COLUMN threshold;
ALTER TABLE fits RENAME COLUMN one_threshold TO threshold;

-- The figure of the report that the objective names; NULL if there is none.
ALTER TABLE fits ADD COLUMN objective REAL;
ALTER TABLE job_sets ADD COLUMN objective REAL;
