-- Results of some folds, and job sets by name.

-- The folds that a user ended the job set with, as a JSON array; NULL for all of its folds.
ALTER TABLE job_sets ADD COLUMN kept_folds TEXT;
-- The folds that predict the test list, as a JSON array; NULL for all of the fit.
ALTER TABLE job_sets ADD COLUMN predict_folds TEXT;

-- Every submission of a job set. Another test list, other folds and another fit lead to another one.
CREATE TABLE submissions (
    job_set_id        TEXT NOT NULL REFERENCES job_sets (id),
    oof_digest        TEXT NOT NULL,
    test_digest       TEXT NOT NULL REFERENCES artifacts (digest),
    -- As a JSON array.
    folds             TEXT NOT NULL,
    submission_digest TEXT NOT NULL REFERENCES artifacts (digest),
    created_ms        INTEGER NOT NULL,
    PRIMARY KEY (job_set_id, oof_digest, test_digest, folds),
    FOREIGN KEY (job_set_id, oof_digest) REFERENCES fits (job_set_id, oof_digest)
) STRICT;
CREATE INDEX submissions_by_test ON submissions (test_digest);
CREATE INDEX submissions_by_submission ON submissions (submission_digest);

-- The list is the newest one of the job set; it is not known of earlier submissions, which a newer one had replaced.
INSERT INTO submissions
SELECT f.job_set_id, f.oof_digest, s.test_digest,
       (SELECT json_group_array(d.fold) FROM fit_folds d WHERE d.job_set_id = f.job_set_id AND d.oof_digest = f.oof_digest),
       f.submission_digest, f.created_ms
FROM fits f JOIN job_sets s ON s.id = f.job_set_id
WHERE f.submission_digest IS NOT NULL AND s.test_digest IS NOT NULL;

CREATE INDEX job_sets_by_name ON job_sets (spec_json ->> '$.name');
