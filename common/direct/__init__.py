"""Conversations on PostgreSQL alone: no log, no cache. Each change is one transaction, and each read
sees one moment."""
