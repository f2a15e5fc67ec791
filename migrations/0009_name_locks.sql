-- The lock on its worker's name under which a job was leased; '' for none. A process that holds the same lock since a later time
-- has replaced the one of the lease.
ALTER TABLE jobs ADD COLUMN name_lock TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN name_lock_taken INTEGER NOT NULL DEFAULT 0;

-- It said that it leaves, and was not heard of since.
ALTER TABLE workers ADD COLUMN has_left INTEGER NOT NULL DEFAULT 0 CHECK (has_left IN (0, 1));
