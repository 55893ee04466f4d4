-- Answers that are shown while they are being said.

ALTER TABLE messaging_group_agents ADD COLUMN stream_previews INTEGER NOT NULL DEFAULT 0; -- 1: where the channel can edit

-- What is shown ahead of the outbound row that it will become.
CREATE TABLE previews (
  session_id   TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  out_id       TEXT NOT NULL,
  channel_type TEXT NOT NULL,
  platform_id  TEXT NOT NULL,
  thread_id    TEXT,
  message_id   TEXT,                      -- as the platform calls it; null: nobody knows whether it is shown
  PRIMARY KEY (session_id, out_id)
) WITHOUT ROWID;
