-- VMs with an owner, and who did what.

-- +goose Up
CREATE TABLE vms (
    cluster TEXT NOT NULL,
    vmid    BIGINT NOT NULL,
    data    TEXT NOT NULL,
    PRIMARY KEY (cluster, vmid)
);

-- Rows are only ever added; the hash chain tells if one was changed.
CREATE TABLE audit (
    seq      BIGINT PRIMARY KEY,
    platform TEXT NOT NULL,
    actor    TEXT NOT NULL,
    vmid     BIGINT NOT NULL,
    job      BIGINT NOT NULL,
    hash     TEXT NOT NULL,
    data     TEXT NOT NULL
);
CREATE INDEX audit_actor ON audit (platform, actor, seq);
CREATE INDEX audit_vmid ON audit (vmid, seq);
INSERT INTO feed (name, value) VALUES ('audit', 0);

-- +goose Down
DELETE FROM feed WHERE name = 'audit';
DROP TABLE audit;
DROP TABLE vms;
