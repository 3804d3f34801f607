-- What idempotency keys were used for, where there is no Redis that could remember it.

CREATE TABLE idempotency_keys (
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    key_digest text NOT NULL,
    request_digest text NOT NULL,
    sequence_numbers bigint[] NOT NULL,       -- what the request's messages got; none for a create
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key_digest)
);
