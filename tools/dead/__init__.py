"""`turnlog dead`: parked events, listed, shown, put back on the log, dropped."""
