-- What is known of the journal itself. `restored_at`: when it was last said to be an older copy, microseconds since 1970.
-- `stood_back`: why nothing may be started on its word any more. `inode`: which file it was when it was opened last.
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value ANY
) WITHOUT ROWID;
