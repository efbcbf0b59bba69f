"""What every process needs: settings, connections, logs, keys, the HTTP frame. No business rule lives here."""
