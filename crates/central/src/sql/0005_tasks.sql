-- The live task of each series, so that nobody has to open every inbox. The inbox is what counts; this is
-- written after it, and anew after a crash.
CREATE TABLE tasks (
  session_id        TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  series_id         TEXT NOT NULL,
  agent_group_id    TEXT NOT NULL,
  origin_session_id TEXT,               -- who scheduled it, if it runs in a session of its own
  status            TEXT NOT NULL,      -- pending, paused
  next_at           INTEGER,            -- milliseconds since 1970
  recurrence        TEXT,
  timezone          TEXT,
  missed            TEXT,
  script            INTEGER NOT NULL,
  fails             INTEGER NOT NULL,
  why               TEXT,               -- it paused itself
  prompt            TEXT NOT NULL,      -- its beginning
  PRIMARY KEY (session_id, series_id)
) WITHOUT ROWID;
CREATE INDEX idx_tasks_series ON tasks(series_id);
CREATE INDEX idx_tasks_origin ON tasks(origin_session_id) WHERE origin_session_id IS NOT NULL;
