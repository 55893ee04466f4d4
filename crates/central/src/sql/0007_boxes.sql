-- How much a box of the agent may use, where it differs from the install's own limits.
CREATE TABLE agent_limits (
  agent_group_id TEXT PRIMARY KEY REFERENCES agent_groups(id) ON DELETE CASCADE,
  memory_mib     INTEGER,
  pids           INTEGER,
  cpu_millis     INTEGER
) WITHOUT ROWID;

-- The packages that were made ready for the boxes of an agent, last.
CREATE TABLE agent_tools (
  agent_group_id TEXT PRIMARY KEY REFERENCES agent_groups(id) ON DELETE CASCADE,
  key            TEXT NOT NULL,    -- which set, made by which driver
  provided       TEXT NOT NULL     -- JSON, in the driver's words
) WITHOUT ROWID;

-- Changes of boxes under way, in the order in which they were asked for. A change that is over has no row.
CREATE TABLE builds (
  id             INTEGER PRIMARY KEY,
  agent_group_id TEXT NOT NULL REFERENCES agent_groups(id) ON DELETE CASCADE,
  session_id     TEXT,             -- who asked
  change         TEXT NOT NULL,    -- JSON: what changes
  before         TEXT,             -- JSON: what to go back to; null: nothing was changed yet
  created_at     TEXT NOT NULL
);
