"""The client's side: trains the global weights locally and delivers an update and a report."""
