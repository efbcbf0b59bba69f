"""The answers: what the read model knows, as fresh as the workspace's own writes."""
