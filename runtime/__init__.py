"""What every process needs: settings, connections, logs, keys, the HTTP frame; no business rule."""
