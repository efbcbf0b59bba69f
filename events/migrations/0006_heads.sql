-- Signed heads of the log, and what makes Merkle roots and proofs quick.

-- Roots of the complete trees of 256 (level 1), 65,536 (level 2) … events; those of a level are
-- counted from 0. All of it follows from log.events: it may be emptied, and is filled again.
CREATE TABLE log.subtrees (
    log_id integer NOT NULL,
    level integer NOT NULL CHECK (level BETWEEN 1 AND 7),
    number bigint NOT NULL CHECK (number >= 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (log_id, level, number)
);

-- Every head the service has signed, oldest first, as the JSON that was signed.
CREATE TABLE log.heads (
    log_id integer NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    head text NOT NULL,
    PRIMARY KEY (log_id, number)
);
CREATE TRIGGER heads_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON log.heads
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.heads ENABLE ALWAYS TRIGGER heads_refuse_change;

-- Keeps roots of one level, from one on; those that are there already stay.
CREATE FUNCTION log.keep_subtrees(
    p_log_id integer, p_level integer, p_first bigint, p_roots bytea[]
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO log.subtrees (log_id, level, number, root)
    SELECT p_log_id, p_level, p_first + r.place - 1, r.root
      FROM unnest(p_roots) WITH ORDINALITY AS r (root, place)
    ON CONFLICT DO NOTHING
$$;

-- Keeps a signed head behind the others.
CREATE FUNCTION log.keep_head(p_log_id integer, p_head text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- In a statement of its own: the next one sees what was kept before the lock.
    PERFORM pg_advisory_xact_lock(730544, p_log_id);
    INSERT INTO log.heads (log_id, number, head)
    SELECT p_log_id, coalesce(max(h.number), 0) + 1, p_head
      FROM log.heads h WHERE h.log_id = p_log_id;
END $$;

-- The newest signed head, NULL when there is none.
CREATE FUNCTION log.newest_head(p_log_id integer) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT h.head FROM log.heads h WHERE h.log_id = p_log_id
             ORDER BY h.number DESC LIMIT 1)
$$;

REVOKE ALL ON FUNCTION log.keep_subtrees, log.keep_head, log.newest_head FROM PUBLIC;
GRANT SELECT ON log.subtrees, log.heads TO customers_relay;
GRANT EXECUTE ON FUNCTION log.keep_subtrees, log.keep_head TO customers_relay;
GRANT EXECUTE ON FUNCTION log.newest_head TO customers_api;
