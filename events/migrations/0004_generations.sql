-- A new lineage of a log, after a restore to an earlier point.

-- Begins the generation behind p_generation, unless somebody was faster: which one it is, or NULL.
-- Waits for the append under way, so that none ends in another generation than it began in.
CREATE FUNCTION log.begin_generation(
    p_log_id integer, p_generation integer, p_forked_at bigint, p_reason text
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(730541, p_log_id);
    IF log.current_generation(p_log_id) <> p_generation THEN
        RETURN NULL;
    END IF;
    INSERT INTO log.generations (log_id, generation, forked_at, reason)
    VALUES (p_log_id, p_generation + 1, p_forked_at, p_reason);
    RETURN p_generation + 1;
END $$;

REVOKE ALL ON FUNCTION log.begin_generation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.begin_generation TO customers_relay;
