-- What happened to one customer, and how the customers of a workspace were at an earlier moment.
-- A moment is a place in the workspace's own sequence: what was recorded up to then is in front of
-- it, and it stays the same place however much is written later.

-- Where customers begin, so that all of a workspace are found without a look at what changed them.
-- By the type, and not by the version: whoever looks for the first event of one customer, planned
-- while the log was empty, would else walk along all of this.
CREATE INDEX events_creations ON log.events (workspace_id, log_id, workspace_sequence)
    WHERE type = 'CustomerCreated';

-- A page of one customer's events behind a version: at most p_limit, and no more than p_bytes of
-- them, but always one. No row unless the customer is of this workspace; one row without an event
-- when none follows. `newest` is the version that the customer has come to, and `erased` whether
-- it was forgotten by now.
CREATE FUNCTION log.read_history(
    p_workspace_id text, p_log_id integer, p_stream_id uuid, p_after integer, p_limit integer,
    p_bytes bigint
) RETURNS TABLE (
    newest integer,
    log_id integer, "position" bigint, workspace_id text, workspace_sequence bigint,
    stream_id uuid, stream_version integer, event_id uuid, command_id uuid, type text,
    schema_version integer, data_key_id uuid, payload bytea, metadata bytea,
    recorded_at timestamptz, digest bytea, chain bytea,
    erased boolean, master_key_id text, wrapped bytea
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A walk along one index from the version on, however many events lie before and behind it.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT newest.stream_version,
           e.log_id, e.position, e.workspace_id, e.workspace_sequence, e.stream_id,
           e.stream_version, e.event_id, e.command_id, e.type, e.schema_version, e.data_key_id,
           e.payload, e.metadata, e.recorded_at, e.digest, e.chain,
           newest.type = 'CustomerErased', k.master_key_id, k.wrapped
      -- Asked of the first event, so that a stranger's question takes as long for every customer.
      FROM (SELECT f.stream_id, f.workspace_id, f.log_id FROM log.events f
             WHERE f.stream_id = p_stream_id AND f.stream_version = 1 LIMIT 1) own
      CROSS JOIN LATERAL (
            SELECT n.stream_version, n.type FROM log.events n WHERE n.stream_id = own.stream_id
             ORDER BY n.stream_version DESC LIMIT 1) newest
      LEFT JOIN LATERAL (
            SELECT n.*,
                   -- The length of a payload is known without fetching it.
                   sum(octet_length(n.payload) + octet_length(n.metadata))
                       OVER (ORDER BY n.stream_version ROWS UNBOUNDED PRECEDING) AS bytes
              FROM (SELECT * FROM log.events l
                     WHERE l.stream_id = own.stream_id AND l.stream_version > p_after
                     ORDER BY l.stream_version LIMIT p_limit) n) e
            ON e.bytes <= p_bytes OR e.stream_version = p_after + 1
      LEFT JOIN LATERAL (
            SELECT * FROM keyring.data_keys d WHERE d.data_key_id = e.data_key_id LIMIT 1) k ON true
     WHERE own.workspace_id = p_workspace_id AND own.log_id = p_log_id
     ORDER BY e.stream_version
$$;

-- How many events of a workspace were recorded up to a moment, and the first eight bytes of the
-- chain at the last of them; NULL for a moment that is still to come. Times never go back along
-- the sequence, so halving finds the place. What is just being appended at that very moment is not
-- among them: it is nowhere before it is committed.
CREATE FUNCTION log.find_moment(
    p_workspace_id text, p_log_id integer, p_at timestamptz,
    OUT workspace_sequence bigint, OUT chain bytea
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    v_low bigint := 0;
    v_high bigint;
    v_middle bigint;
    v_recorded_at timestamptz;
BEGIN
    SELECT l.workspace_sequence, l.recorded_at INTO v_high, v_recorded_at FROM log.events l
     WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id
     ORDER BY l.workspace_sequence DESC LIMIT 1;
    -- The clock may have been set back since the newest event.
    IF p_at > greatest(clock_timestamp(), v_recorded_at) THEN
        RETURN;
    END IF;
    IF v_recorded_at <= p_at THEN
        v_low := v_high;
    END IF;
    WHILE v_high > v_low + 1 LOOP
        v_middle := (v_low + v_high) / 2;
        SELECT l.recorded_at INTO STRICT v_recorded_at FROM log.events l
         WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id
           AND l.workspace_sequence = v_middle;
        IF v_recorded_at <= p_at THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle;
        END IF;
    END LOOP;
    find_moment.workspace_sequence := v_low;
    find_moment.chain := substring(sha256('') FOR 8);
    IF v_low > 0 THEN
        SELECT substring(l.chain FOR 8) INTO STRICT find_moment.chain FROM log.events l
         WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id
           AND l.workspace_sequence = v_low;
    END IF;
END $$;

-- Whether the workspace's own sequence has come to this place, along the chain that begins so there.
CREATE FUNCTION log.has_moment(
    p_workspace_id text, p_log_id integer, p_sequence bigint, p_chain bytea
) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT p_sequence = 0 OR EXISTS (
        SELECT FROM log.events l
         WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id
           AND l.workspace_sequence = p_sequence AND substring(l.chain FOR 8) = p_chain)
$$;

-- The version that a customer had when its workspace had so many events; 0 before its first one.
CREATE FUNCTION log.version_at(p_stream_id uuid, p_sequence bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_low integer := 0;
    v_high integer;
    v_middle integer;
    v_sequence bigint;
BEGIN
    SELECT l.stream_version, l.workspace_sequence INTO v_high, v_sequence FROM log.events l
     WHERE l.stream_id = p_stream_id ORDER BY l.stream_version DESC LIMIT 1;
    -- Mostly nothing has happened since.
    IF v_sequence <= p_sequence THEN
        RETURN v_high;
    END IF;
    WHILE v_high > v_low + 1 LOOP
        v_middle := (v_low + v_high) / 2;
        SELECT l.workspace_sequence INTO STRICT v_sequence FROM log.events l
         WHERE l.stream_id = p_stream_id AND l.stream_version = v_middle;
        IF v_sequence <= p_sequence THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle;
        END IF;
    END LOOP;
    RETURN v_low;
END $$;

-- A customer in a version, or else in the one that it had when its workspace had p_sequence events:
-- the event that made it so, and when the customer was created. No row unless the customer is of
-- this workspace; one row without an event when it had no such version.
CREATE FUNCTION log.read_as_of(
    p_workspace_id text, p_log_id integer, p_stream_id uuid, p_version integer, p_sequence bigint
) RETURNS TABLE (
    created_at timestamptz,
    log_id integer, "position" bigint, workspace_id text, workspace_sequence bigint,
    stream_id uuid, stream_version integer, event_id uuid, command_id uuid, type text,
    schema_version integer, data_key_id uuid, payload bytea, metadata bytea,
    recorded_at timestamptz, digest bytea, chain bytea,
    erased boolean, master_key_id text, wrapped bytea
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT own.recorded_at,
           e.log_id, e.position, e.workspace_id, e.workspace_sequence, e.stream_id,
           e.stream_version, e.event_id, e.command_id, e.type, e.schema_version, e.data_key_id,
           e.payload, e.metadata, e.recorded_at, e.digest, e.chain,
           log.was_erased(p_workspace_id, p_stream_id), k.master_key_id, k.wrapped
      FROM (SELECT f.stream_id, f.workspace_id, f.log_id, f.recorded_at FROM log.events f
             WHERE f.stream_id = p_stream_id AND f.stream_version = 1 LIMIT 1) own
      CROSS JOIN LATERAL (
            SELECT coalesce(p_version, log.version_at(own.stream_id, p_sequence)) AS version
            OFFSET 0) wanted
      LEFT JOIN LATERAL (
            SELECT * FROM log.events l
             WHERE l.stream_id = own.stream_id AND l.stream_version = wanted.version LIMIT 1) e
            ON true
      LEFT JOIN LATERAL (
            SELECT * FROM keyring.data_keys d WHERE d.data_key_id = e.data_key_id LIMIT 1) k ON true
     WHERE own.workspace_id = p_workspace_id AND own.log_id = p_log_id
$$;

-- The customers of a workspace as they were when it had p_sequence events, newest created first,
-- from those on that were created before its event p_before: for each the event that made it so,
-- and when the customer was created. Those that were deleted then, or are erased by now, are left
-- out. At most p_limit, and after a look at p_looks customers; a last row without an event says
-- where the next page begins, and is not there at the end.
CREATE FUNCTION log.list_as_of(
    p_workspace_id text, p_log_id integer, p_sequence bigint, p_before bigint, p_limit integer,
    p_looks integer
) RETURNS TABLE (
    created_sequence bigint, created_at timestamptz,
    log_id integer, "position" bigint, workspace_id text, workspace_sequence bigint,
    stream_id uuid, stream_version integer, event_id uuid, command_id uuid, type text,
    schema_version integer, data_key_id uuid, payload bytea, metadata bytea,
    recorded_at timestamptz, digest bytea, chain bytea,
    erased boolean, master_key_id text, wrapped bytea
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    first record;
    v_found integer := 0;
    v_last bigint;
BEGIN
    FOR first IN
        SELECT l.stream_id, l.workspace_sequence, l.recorded_at FROM log.events l
         WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id AND l.type = 'CustomerCreated'
           AND l.workspace_sequence < p_before
         ORDER BY l.workspace_sequence DESC LIMIT p_looks
    LOOP
        v_last := first.workspace_sequence;
        RETURN QUERY
            SELECT first.workspace_sequence, first.recorded_at,
                   e.log_id, e.position, e.workspace_id, e.workspace_sequence, e.stream_id,
                   e.stream_version, e.event_id, e.command_id, e.type, e.schema_version,
                   e.data_key_id, e.payload, e.metadata, e.recorded_at, e.digest, e.chain,
                   false, k.master_key_id, k.wrapped
              FROM log.events e
              LEFT JOIN LATERAL (
                    SELECT * FROM keyring.data_keys d
                     WHERE d.data_key_id = e.data_key_id LIMIT 1) k ON true
             WHERE e.stream_id = first.stream_id
               AND e.stream_version = log.version_at(first.stream_id, p_sequence)
               AND e.type NOT IN ('CustomerDeleted', 'CustomerErased')
               AND NOT log.was_erased(p_workspace_id, first.stream_id);
        IF FOUND THEN
            v_found := v_found + 1;
            EXIT WHEN v_found = p_limit;
        END IF;
    END LOOP;
    IF EXISTS (
        SELECT FROM log.events l
         WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id AND l.type = 'CustomerCreated'
           AND l.workspace_sequence < v_last)
    THEN
        created_sequence := v_last;
        RETURN NEXT;
    END IF;
END $$;

REVOKE ALL ON FUNCTION log.read_history, log.find_moment, log.has_moment, log.version_at,
    log.read_as_of, log.list_as_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.read_history, log.find_moment, log.has_moment, log.read_as_of,
    log.list_as_of TO customers_api;
