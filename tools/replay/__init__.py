"""`turnlog replay`: events again, from the log or the record, to wherever they are needed."""
