"""The facts, and how they are kept: the log, its relay into JetStream, and what an event is."""
