-- One row for each query that was logged for analytics. The conversation is a note, not a reference: what
-- was asked and how it went outlives the conversation it was asked in.

CREATE TABLE query_logs (
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    log_id text NOT NULL,
    conversation_id uuid,
    at timestamptz NOT NULL,
    tokens_used bigint,
    latency_ms double precision,
    payload json NOT NULL,
    PRIMARY KEY (user_id, log_id)
);

CREATE INDEX query_logs_by_time ON query_logs (user_id, at);
