-- What operators ask of the log (`customers state`, `customers export`), they ask with the rights
-- of the relay: it reads every workspace anyway, and its process is the one with the master keys
-- and no door to the outside.
GRANT EXECUTE ON FUNCTION log.read_history, log.find_moment, log.read_as_of, log.list_as_of
TO customers_relay;
