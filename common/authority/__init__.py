"""Who has the say over conversations, the log or the record, and how it moves between them (ADR 0110)."""
