-- What our host remembers beyond v2. New tables and indexes only, so that v2 can take the file back.
-- Times in columns named *_at of type INTEGER are milliseconds since 1970: they are compared.

CREATE INDEX idx_sessions_live ON sessions(container_status) WHERE container_status <> 'stopped';

-- When a session has work next. No row: never. Sleeping sessions are not scanned.
CREATE TABLE session_due (
  session_id TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
  due_at     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_session_due ON session_due(due_at);

-- How far outbound.db was settled.
CREATE TABLE session_cursors (
  session_id TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
  out_rowid  INTEGER NOT NULL
) WITHOUT ROWID;

-- Every attempt at an outbound message, recorded before it is made.
CREATE TABLE deliveries (
  session_id          TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  out_id              TEXT NOT NULL,
  seq                 INTEGER NOT NULL,
  state               TEXT NOT NULL,    -- pending, sent, rejected, dead
  attempts            INTEGER NOT NULL,
  channel_type        TEXT,             -- null: a request to the host
  platform_id         TEXT,
  thread_id           TEXT,
  first_at            INTEGER NOT NULL,
  last_at             INTEGER NOT NULL,
  next_at             INTEGER,          -- null while pending: an attempt is under way, or was cut short
  platform_message_id TEXT,
  last_error          TEXT,
  PRIMARY KEY (session_id, out_id)
);
CREATE INDEX idx_deliveries_state ON deliveries(state, next_at);
CREATE INDEX idx_deliveries_dead ON deliveries(last_at) WHERE state = 'dead';

-- Boxes that would not start.
CREATE TABLE wake_failures (
  session_id TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
  count      INTEGER NOT NULL,
  next_at    INTEGER NOT NULL,
  last_error TEXT NOT NULL,
  notified   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Sessions whose files must not be touched until somebody looked.
CREATE TABLE quarantine (
  session_id TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
  reason     TEXT NOT NULL,
  since      TEXT NOT NULL
) WITHOUT ROWID;

-- What happened to each message, step by step. Pruned.
CREATE TABLE trace (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  at         TEXT NOT NULL,
  message_id TEXT,
  session_id TEXT,
  out_id     TEXT,
  step       TEXT NOT NULL,
  detail     TEXT NOT NULL
);
CREATE INDEX idx_trace_message ON trace(message_id) WHERE message_id IS NOT NULL;
CREATE INDEX idx_trace_out ON trace(out_id) WHERE out_id IS NOT NULL;

-- Boxes that we started, so that they are found again after a crash.
CREATE TABLE boxes (
  session_id TEXT PRIMARY KEY REFERENCES sessions(id) ON DELETE CASCADE,
  name       TEXT NOT NULL,
  driver     TEXT NOT NULL,
  started_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Threads in which an agent was addressed by name and goes on answering (mention-sticky).
CREATE TABLE engaged_threads (
  agent_group_id     TEXT NOT NULL REFERENCES agent_groups(id) ON DELETE CASCADE,
  messaging_group_id TEXT NOT NULL REFERENCES messaging_groups(id) ON DELETE CASCADE,
  thread_id          TEXT NOT NULL,
  since              TEXT NOT NULL,
  PRIMARY KEY (agent_group_id, messaging_group_id, thread_id)
) WITHOUT ROWID;
-- v2 took any session of the thread as the sign; conversations that are under way go on.
INSERT OR IGNORE INTO engaged_threads (agent_group_id, messaging_group_id, thread_id, since)
SELECT s.agent_group_id, s.messaging_group_id, s.thread_id, s.created_at
FROM sessions s
JOIN messaging_group_agents w
  ON w.messaging_group_id = s.messaging_group_id AND w.agent_group_id = s.agent_group_id
WHERE s.status = 'active' AND s.thread_id IS NOT NULL AND w.engage_mode = 'mention-sticky';
