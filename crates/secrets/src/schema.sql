CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    install TEXT NOT NULL,
    kek TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    manifest BLOB NOT NULL
) STRICT;
CREATE TABLE records (
    tbl TEXT NOT NULL,
    id TEXT NOT NULL,
    field TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tbl, id, field)
) STRICT, WITHOUT ROWID;
CREATE TABLE locks (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
