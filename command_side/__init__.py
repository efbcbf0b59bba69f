"""The decisions: HTTP requests become commands, commands become events or a rejection."""
