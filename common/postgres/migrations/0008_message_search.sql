-- What a message is found by: its words with their places, each behind its user's mark, made by the program
-- (common/postgres/search_words.py). NULL: not made yet (written by an earlier version); gateways make it.
ALTER TABLE messages ADD COLUMN search tsvector;

-- One index for the words of all users. It cannot lead with the user without an extension (btree_gin); the
-- mark that every word begins with does the same: a search reads entries of its own user's words only.
CREATE INDEX messages_search ON messages USING gin (search);

CREATE INDEX messages_unsearched ON messages (user_id, conversation_id, sequence_number)
    WHERE search IS NULL;
