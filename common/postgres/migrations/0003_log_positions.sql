-- What PostgreSQL knows of the log.

-- The highest position of each partition that is committed here. A Redis whose log ends below it has lost
-- its tail.
CREATE TABLE committed_positions (
    partition integer PRIMARY KEY,
    position_ms bigint NOT NULL,              -- the two halves of a stream entry id
    position_seq bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- How many partitions the log was created with: another count would look for users in other partitions.
CREATE TABLE log_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    partitions integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
