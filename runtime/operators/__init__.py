"""What operators do with the log: built here from settings, for the command line."""
