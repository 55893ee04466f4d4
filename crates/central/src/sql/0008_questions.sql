-- Looked for with every message where a platform has no buttons.
CREATE INDEX idx_questions_at ON pending_questions(channel_type, platform_id) WHERE late = 0;
CREATE INDEX idx_questions_session ON pending_questions(session_id);
