-- Who may ask the coordinator for anything. Tokens are revoked and never deleted: once one was made, nobody gets in without.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('user', 'worker', 'read-only')),
    -- BLAKE3 of the token, which itself is not stored.
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT;
