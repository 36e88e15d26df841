-- When a piece of output reached us; NULL for what an older release stored.
ALTER TABLE output ADD COLUMN at INTEGER;
