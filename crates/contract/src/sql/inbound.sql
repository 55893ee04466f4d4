-- inbound.db: the inbox of one session. The host writes, the box reads.

-- One row per message to the agent. `seq` is even and is the number the agent sees.
CREATE TABLE IF NOT EXISTS messages_in (
  id                TEXT PRIMARY KEY,
  seq               INTEGER UNIQUE,
  kind              TEXT NOT NULL,              -- chat, chat-sdk, task, webhook, system
  timestamp         TEXT NOT NULL,
  status            TEXT DEFAULT 'pending',     -- pending, completed, failed, paused
  process_after     TEXT,                       -- not before this time (UTC)
  recurrence        TEXT,                       -- cron expression
  series_id         TEXT,                       -- first row of a recurring series
  tries             INTEGER DEFAULT 0,
  trigger           INTEGER NOT NULL DEFAULT 1, -- 1 wakes the agent, 0 is context only
  platform_id       TEXT,                       -- reply address
  channel_type      TEXT,
  thread_id         TEXT,
  content           TEXT NOT NULL,              -- JSON
  source_session_id TEXT,                       -- where an agent-to-agent message came from
  on_wake           INTEGER NOT NULL DEFAULT 0  -- 1: only for the first look of a fresh container
);
CREATE INDEX IF NOT EXISTS idx_messages_in_series ON messages_in(series_id);
-- Addition to v2: finds work without a scan, whatever the history.
CREATE INDEX IF NOT EXISTS idx_messages_in_pending ON messages_in(seq) WHERE status = 'pending';
-- Addition to v2: the live row of each task.
CREATE INDEX IF NOT EXISTS idx_messages_in_tasks ON messages_in(series_id) WHERE kind = 'task' AND status IN ('pending', 'paused');
-- Addition to v2: what other agents wrote.
CREATE INDEX IF NOT EXISTS idx_messages_in_letters ON messages_in(platform_id, seq) WHERE source_session_id IS NOT NULL;

-- Addition to v2: tasks of this session that run in sessions of their own, for the agent to see.
CREATE TABLE IF NOT EXISTS tasks_elsewhere (
  series_id     TEXT PRIMARY KEY,
  status        TEXT NOT NULL,
  process_after TEXT,
  recurrence    TEXT,
  content       TEXT NOT NULL
);

-- What became of each outbound message.
CREATE TABLE IF NOT EXISTS delivered (
  message_out_id      TEXT PRIMARY KEY,
  platform_message_id TEXT,
  status              TEXT NOT NULL DEFAULT 'delivered', -- delivered, failed
  delivered_at        TEXT NOT NULL
);

-- The names the agent may write to. Replaced as a whole.
CREATE TABLE IF NOT EXISTS destinations (
  name           TEXT PRIMARY KEY,
  display_name   TEXT,
  type           TEXT NOT NULL,                 -- channel, agent
  channel_type   TEXT,
  platform_id    TEXT,
  agent_group_id TEXT
);

-- The conversation this session belongs to.
CREATE TABLE IF NOT EXISTS session_routing (
  id           INTEGER PRIMARY KEY CHECK (id = 1),
  channel_type TEXT,
  platform_id  TEXT,
  thread_id    TEXT
);
