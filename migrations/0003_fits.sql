-- Every fit of a job set. A fold that is trained again leads to another one; the table that it was made from tells them apart.
CREATE TABLE fits (
    job_set_id        TEXT NOT NULL REFERENCES job_sets (id),
    -- The merged out-of-fold table.
    oof_digest        TEXT NOT NULL REFERENCES artifacts (digest),
    report_digest     TEXT NOT NULL REFERENCES artifacts (digest),
    -- Of the newest test list; NULL while it is being predicted, or where there is none.
    submission_digest TEXT REFERENCES artifacts (digest),
    macro_f1          REAL NOT NULL,
    threshold         REAL NOT NULL,
    created_ms        INTEGER NOT NULL,
    PRIMARY KEY (job_set_id, oof_digest)
) STRICT;

-- What each fold gave to a fit. Its checkpoints are kept.
CREATE TABLE fit_folds (
    job_set_id        TEXT NOT NULL,
    oof_digest        TEXT NOT NULL,
    fold              INTEGER NOT NULL,
    result_digest     TEXT NOT NULL REFERENCES artifacts (digest),
    checkpoint_digest TEXT REFERENCES artifacts (digest),
    PRIMARY KEY (job_set_id, oof_digest, fold),
    FOREIGN KEY (job_set_id, oof_digest) REFERENCES fits (job_set_id, oof_digest)
) STRICT;

INSERT INTO fits
SELECT id, oof_digest, report_digest, submission_digest, macro_f1, threshold, updated_ms FROM job_sets WHERE oof_digest IS NOT NULL;

INSERT INTO fit_folds
SELECT s.id, s.oof_digest, j.fold, j.result_digest, j.result_checkpoint_digest
FROM job_sets s JOIN jobs j ON j.job_set_id = s.id AND j.kind = 'train'
WHERE s.oof_digest IS NOT NULL AND j.result_digest IS NOT NULL;
