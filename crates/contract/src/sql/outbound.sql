-- outbound.db: the outbox of one session. The box writes, the host reads.

-- One row per message from the agent. `seq` is odd and is the number the agent sees.
CREATE TABLE IF NOT EXISTS messages_out (
  id            TEXT PRIMARY KEY,
  seq           INTEGER UNIQUE,
  in_reply_to   TEXT,
  timestamp     TEXT NOT NULL,                  -- UTC, SQLite text form
  deliver_after TEXT,
  recurrence    TEXT,
  kind          TEXT NOT NULL,                  -- chat, chat-sdk, system
  platform_id   TEXT,
  channel_type  TEXT,
  thread_id     TEXT,
  content       TEXT NOT NULL                   -- JSON
);

-- The runner's claims on inbound rows.
CREATE TABLE IF NOT EXISTS processing_ack (
  message_id     TEXT PRIMARY KEY,
  status         TEXT NOT NULL,                 -- processing, completed, failed
  status_changed TEXT NOT NULL
);

-- What the runner must remember across containers.
CREATE TABLE IF NOT EXISTS session_state (
  key        TEXT PRIMARY KEY,
  value      TEXT NOT NULL,
  updated_at TEXT NOT NULL
);

-- What the agent is doing now; v2 hosts read this one row.
CREATE TABLE IF NOT EXISTS container_state (
  id                       INTEGER PRIMARY KEY CHECK (id = 1),
  current_tool             TEXT,
  tool_declared_timeout_ms INTEGER,
  tool_started_at          TEXT,
  updated_at               TEXT NOT NULL
);
