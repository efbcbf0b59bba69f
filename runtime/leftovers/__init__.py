"""What is left of a person: a value looked for in tables, files and dumps."""
