-- What people decide, what the host itself says, strangers, and which identities are one person.

-- A request stays after it was decided: its outcome is still to be told, and a late click is to be answered.
ALTER TABLE pending_approvals ADD COLUMN request_key TEXT;
ALTER TABLE pending_approvals ADD COLUMN hash TEXT;                   -- of the payload; null: v2 asked
ALTER TABLE pending_approvals ADD COLUMN needed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE pending_approvals ADD COLUMN expires_ms INTEGER;
ALTER TABLE pending_approvals ADD COLUMN chosen TEXT;                 -- the value of the option that won
ALTER TABLE pending_approvals ADD COLUMN decided_by TEXT;
ALTER TABLE pending_approvals ADD COLUMN decided_at TEXT;
ALTER TABLE pending_approvals ADD COLUMN outcome TEXT;
ALTER TABLE pending_approvals ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX idx_approvals_key ON pending_approvals(request_key) WHERE request_key IS NOT NULL;
CREATE INDEX idx_approvals_expiry ON pending_approvals(expires_ms) WHERE status = 'pending';
CREATE INDEX idx_approvals_untold ON pending_approvals(created_at)
  WHERE told = 0 AND hash IS NOT NULL AND status <> 'pending';

-- Where a request was shown: one card per approver and direct chat.
CREATE TABLE approval_cards (
  approval_id  TEXT NOT NULL REFERENCES pending_approvals(approval_id) ON DELETE CASCADE,
  mail_key     TEXT NOT NULL,
  user_id      TEXT NOT NULL,
  channel_type TEXT NOT NULL,
  platform_id  TEXT NOT NULL,
  PRIMARY KEY (approval_id, mail_key)
) WITHOUT ROWID;
CREATE INDEX idx_approval_cards_at ON approval_cards(channel_type, platform_id);

-- One vote per person, whichever identity it came from.
CREATE TABLE approval_votes (
  approval_id TEXT NOT NULL REFERENCES pending_approvals(approval_id) ON DELETE CASCADE,
  person_id   TEXT NOT NULL,
  user_id     TEXT NOT NULL,
  value       TEXT NOT NULL,
  at          TEXT NOT NULL,
  PRIMARY KEY (approval_id, person_id)
) WITHOUT ROWID;

-- Who was asked in which direct chat to type a name.
CREATE TABLE approval_names (
  approval_id  TEXT PRIMARY KEY REFERENCES pending_approvals(approval_id) ON DELETE CASCADE,
  user_id      TEXT NOT NULL,
  channel_type TEXT NOT NULL,
  platform_id  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_approval_names_at ON approval_names(channel_type, platform_id);

-- Messages that wait for a request about who wrote them, or about their chat.
CREATE TABLE held_messages (
  n           INTEGER PRIMARY KEY AUTOINCREMENT,
  approval_id TEXT NOT NULL REFERENCES pending_approvals(approval_id) ON DELETE CASCADE,
  message_id  TEXT NOT NULL,
  message     TEXT NOT NULL,
  UNIQUE (approval_id, message_id)
);

-- Strangers whom somebody turned away: nobody is asked about them again before this time.
CREATE TABLE denied_senders (
  messaging_group_id TEXT NOT NULL REFERENCES messaging_groups(id) ON DELETE CASCADE,
  agent_group_id     TEXT NOT NULL REFERENCES agent_groups(id) ON DELETE CASCADE,
  user_id            TEXT NOT NULL,
  until              INTEGER NOT NULL,
  PRIMARY KEY (messaging_group_id, agent_group_id, user_id)
) WITHOUT ROWID;

-- Lines of the host itself, delivered in order per address.
CREATE TABLE mail (
  n                   INTEGER PRIMARY KEY AUTOINCREMENT,
  key                 TEXT NOT NULL UNIQUE,
  channel_type        TEXT NOT NULL,
  platform_id         TEXT NOT NULL,
  thread_id           TEXT,
  body                TEXT NOT NULL,
  state               TEXT NOT NULL DEFAULT 'pending', -- pending, sent, rejected, dead
  attempts            INTEGER NOT NULL DEFAULT 0,
  first_at            INTEGER NOT NULL,
  last_at             INTEGER NOT NULL,
  next_at             INTEGER NOT NULL,
  platform_message_id TEXT,
  last_error          TEXT
);
CREATE INDEX idx_mail_lane ON mail(channel_type, platform_id, thread_id, n) WHERE state = 'pending';
CREATE INDEX idx_mail_due ON mail(next_at) WHERE state = 'pending';
CREATE INDEX idx_mail_over ON mail(state, last_at) WHERE state <> 'pending';

-- Identities of one person on several platforms.
CREATE TABLE identities (
  user_id   TEXT PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
  person_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_identities_person ON identities(person_id);
