"""`customers dev`: the whole service on one machine, supervised by one process."""
