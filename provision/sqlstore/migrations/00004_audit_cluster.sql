-- VMIDs are a cluster's own, so the audit says which cluster it was.

-- +goose Up
ALTER TABLE audit ADD COLUMN cluster TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE audit DROP COLUMN cluster;
