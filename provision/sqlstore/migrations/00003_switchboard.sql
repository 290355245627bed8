-- Who works for which cluster, and what bots ask each other about them.

-- +goose Up
CREATE TABLE attendants (
    cluster TEXT NOT NULL,
    owner   TEXT NOT NULL,
    until   BIGINT NOT NULL,
    PRIMARY KEY (cluster, owner)
);

CREATE TABLE questions (
    id      TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    asked   BIGINT NOT NULL,
    taken   BOOLEAN NOT NULL DEFAULT FALSE, -- by somebody who will answer
    data    TEXT NOT NULL,
    answer  TEXT NOT NULL DEFAULT '' -- '': there is none yet
);
CREATE INDEX questions_open ON questions (cluster, taken, asked);

-- +goose Down
DROP TABLE questions;
DROP TABLE attendants;
