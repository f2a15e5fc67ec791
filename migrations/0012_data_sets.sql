-- Pushed data sets, and job sets whose images the coordinator has.

-- The segments of pushed images. An index that no data set and no job set refers to has none here.
CREATE TABLE image_segments (
    images_digest  TEXT NOT NULL REFERENCES artifacts (digest),
    segment_digest TEXT NOT NULL REFERENCES artifacts (digest),
    PRIMARY KEY (images_digest, segment_digest)
) STRICT;
CREATE INDEX image_segments_by_segment ON image_segments (segment_digest);

CREATE TABLE data_sets (
    name          TEXT PRIMARY KEY NOT NULL,
    -- The text of its dataset.toml.
    dataset_toml  TEXT NOT NULL,
    train_digest  TEXT NOT NULL REFERENCES artifacts (digest),
    hpa_digest    TEXT REFERENCES artifacts (digest),
    test_digest   TEXT REFERENCES artifacts (digest),
    -- Folds that were made elsewhere.
    folds_digest  TEXT REFERENCES artifacts (digest),
    images_digest TEXT NOT NULL REFERENCES artifacts (digest),
    image_count   INTEGER NOT NULL,
    -- Of all segments.
    size_bytes    INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX data_sets_by_train ON data_sets (train_digest);
CREATE INDEX data_sets_by_hpa ON data_sets (hpa_digest) WHERE hpa_digest IS NOT NULL;
CREATE INDEX data_sets_by_test ON data_sets (test_digest) WHERE test_digest IS NOT NULL;
CREATE INDEX data_sets_by_folds ON data_sets (folds_digest) WHERE folds_digest IS NOT NULL;
CREATE INDEX data_sets_by_images ON data_sets (images_digest);

-- The index of its images; NULL where each worker has them in a folder.
ALTER TABLE job_sets ADD COLUMN images_digest TEXT REFERENCES artifacts (digest);
CREATE INDEX job_sets_by_images ON job_sets (images_digest) WHERE images_digest IS NOT NULL;

-- Without a folder of images a worker gets jobs of job sets with pushed images only.
ALTER TABLE workers ADD COLUMN has_image_folder INTEGER NOT NULL DEFAULT 1 CHECK (has_image_folder IN (0, 1));
