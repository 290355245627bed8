-- One text for SQLite and PostgreSQL. Times are microseconds since 1970 in
-- UTC; 0 means none.

-- +goose Up

-- What a job is now: the fold of its events (snapshot), and beside it what
-- queries and workers need.
CREATE TABLE jobs (
    id          BIGINT PRIMARY KEY,
    order_key   TEXT NOT NULL UNIQUE,
    cluster     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    platform    TEXT NOT NULL,
    actor       TEXT NOT NULL,
    vmid        BIGINT NOT NULL,
    snapshot    TEXT NOT NULL,
    seq         BIGINT NOT NULL,
    owner       TEXT NOT NULL DEFAULT '', -- of the lease; '': nobody's
    epoch       BIGINT NOT NULL DEFAULT 0, -- counts the leases
    lease_until BIGINT NOT NULL DEFAULT 0,
    cancel_by   TEXT NOT NULL DEFAULT '', -- an actor as JSON
    due         BIGINT NOT NULL DEFAULT 0, -- when its gate expires
    created     BIGINT NOT NULL,
    updated     BIGINT NOT NULL -- when the last event was written
);
CREATE INDEX jobs_state ON jobs (state, cluster, id);
CREATE INDEX jobs_actor ON jobs (platform, actor, id);
CREATE INDEX jobs_vmid ON jobs (vmid, id);

CREATE TABLE events (
    pos  BIGINT PRIMARY KEY,
    job  BIGINT NOT NULL,
    seq  BIGINT NOT NULL,
    id   TEXT NOT NULL,
    at   BIGINT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (job, seq)
);

-- The counters. Whoever writes events takes the row 'pos' as the last lock of
-- its transaction, so that positions become visible in their order.
CREATE TABLE feed (
    name  TEXT PRIMARY KEY, -- jobs: the newest id; pos: the newest position; pruned: the newest position deleted
    value BIGINT NOT NULL
);
INSERT INTO feed (name, value) VALUES ('jobs', 0), ('pos', 0), ('pruned', 0);

-- A slot is held by a job, or cools down (job 0).
CREATE TABLE slots (
    pool          TEXT NOT NULL,
    slot          TEXT NOT NULL,
    job           BIGINT NOT NULL,
    cooling_until BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (pool, slot)
);
CREATE INDEX slots_job ON slots (job);

CREATE TABLE roles (
    name    TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE cards (
    platform TEXT NOT NULL,
    job      BIGINT NOT NULL,
    ref      TEXT NOT NULL,
    shown    BIGINT NOT NULL,
    said     BIGINT NOT NULL,
    settled  BOOLEAN NOT NULL,
    PRIMARY KEY (platform, job)
);

CREATE TABLE inbox (
    platform TEXT NOT NULL,
    id       TEXT NOT NULL,
    data     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    handled  BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (platform, id)
);

-- +goose Down
DROP TABLE inbox;
DROP TABLE cards;
DROP TABLE roles;
DROP TABLE slots;
DROP TABLE feed;
DROP TABLE events;
DROP TABLE jobs;
