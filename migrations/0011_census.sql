-- The jobs that are not finished, for the counts of /metrics.
CREATE INDEX jobs_to_count ON jobs (state, kind, paused, stalled) WHERE state IN ('queued', 'leased');
