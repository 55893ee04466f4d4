-- What platforms tell after a message was said, and codes that connect a chat.

-- Reactions and deletions name a message as the platform does.
CREATE INDEX idx_deliveries_shown ON deliveries(platform_message_id) WHERE platform_message_id IS NOT NULL;
CREATE INDEX idx_held_messages ON held_messages(message_id);

-- Threads of which an agent was given what had been said before.
CREATE TABLE told_threads (
  agent_group_id     TEXT NOT NULL REFERENCES agent_groups(id) ON DELETE CASCADE,
  messaging_group_id TEXT NOT NULL REFERENCES messaging_groups(id) ON DELETE CASCADE,
  thread_id          TEXT NOT NULL,
  PRIMARY KEY (agent_group_id, messaging_group_id, thread_id)
) WITHOUT ROWID;

CREATE TABLE pairings (
  id             TEXT PRIMARY KEY,
  channel_type   TEXT NOT NULL,
  hash           TEXT NOT NULL,           -- of the code
  agent_group_id TEXT NOT NULL REFERENCES agent_groups(id) ON DELETE CASCADE,
  owner          INTEGER NOT NULL,        -- 1: whoever types it is the operator
  expires_ms     INTEGER NOT NULL,
  used_by        TEXT,                    -- the message that brought it
  outcome        TEXT
) WITHOUT ROWID;
