-- Agents that work together, and the questions they ask people. Additions to what is there.

-- The session that a message between agents went to: decided once, whatever happens between the attempts.
ALTER TABLE deliveries ADD COLUMN target_session TEXT;

-- The id that the box knows its question by. The id on the card is the host's own.
ALTER TABLE pending_questions ADD COLUMN asked_as TEXT;
-- 1: the agent no longer waits; an answer is still told.
ALTER TABLE pending_questions ADD COLUMN late INTEGER NOT NULL DEFAULT 0;

-- Agents that were made by agents.
CREATE TABLE agent_creators (
  agent_group_id TEXT PRIMARY KEY REFERENCES agent_groups(id) ON DELETE CASCADE,
  created_by     TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_agent_creators_by ON agent_creators(created_by);
