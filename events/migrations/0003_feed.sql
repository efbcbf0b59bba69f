-- The events of one workspace, in order and for ever: what the feed shows.

-- A page of a workspace's events behind a place in its own sequence. First comes the event of that
-- place itself, so that the same snapshot tells whether the place is still of this history; at 0
-- there is none. Then at most p_limit events, and no more than p_bytes of them, but always one.
-- `has_more` of the last row tells whether another event follows.
CREATE FUNCTION log.read_feed(
    p_workspace_id text, p_log_id integer, p_after bigint, p_limit integer, p_bytes bigint
) RETURNS TABLE (
    generation integer, has_more boolean,
    log_id integer, "position" bigint, workspace_id text, workspace_sequence bigint,
    stream_id uuid, stream_version integer, event_id uuid, command_id uuid, type text,
    schema_version integer, data_key_id uuid, payload bytea, metadata bytea,
    recorded_at timestamptz, digest bytea, chain bytea,
    erased boolean, master_key_id text, wrapped bytea
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A walk along one index from the place on, however many events lie before and behind it.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT log.current_generation(p_log_id), e.has_more,
           e.log_id, e.position, e.workspace_id, e.workspace_sequence, e.stream_id,
           e.stream_version, e.event_id, e.command_id, e.type, e.schema_version, e.data_key_id,
           e.payload, e.metadata, e.recorded_at, e.digest, e.chain,
           k.wrapped IS NULL AND coalesce((
                SELECT x.type = 'CustomerErased' FROM log.events x
                 WHERE x.stream_id = e.stream_id ORDER BY x.stream_version DESC LIMIT 1), false),
           k.master_key_id, k.wrapped
      FROM (SELECT n.*, lead(n.position) OVER walk IS NOT NULL AS has_more,
                   -- The length of a payload is known without fetching it.
                   sum(CASE WHEN n.workspace_sequence > p_after
                            THEN octet_length(n.payload) + octet_length(n.metadata) END)
                       OVER (walk ROWS UNBOUNDED PRECEDING) AS bytes
              FROM (SELECT * FROM log.events l
                     WHERE l.workspace_id = p_workspace_id AND l.log_id = p_log_id
                       AND l.workspace_sequence >= p_after
                     ORDER BY l.workspace_sequence LIMIT p_limit + 2) n
            WINDOW walk AS (ORDER BY n.workspace_sequence)) e
      LEFT JOIN LATERAL (
            SELECT * FROM keyring.data_keys d WHERE d.data_key_id = e.data_key_id LIMIT 1) k ON true
     WHERE e.workspace_sequence - p_after <= p_limit
       AND (e.workspace_sequence - p_after <= 1 OR e.bytes <= p_bytes)
     ORDER BY e.workspace_sequence
$$;

-- The log's generation now, and where the events of each of these workspaces end, with what tells
-- whether a place is of this history: the first eight bytes of the chain there. NULL for a
-- workspace without events.
CREATE FUNCTION log.read_ends(p_workspace_id text[], p_log_id integer)
RETURNS TABLE (
    workspace_id text, generation integer, workspace_sequence bigint, chain bytea
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT asked.workspace_id, log.current_generation(p_log_id), l.workspace_sequence,
           substring(l.chain FOR 8)
      FROM unnest(p_workspace_id) AS asked (workspace_id)
      LEFT JOIN LATERAL (
            SELECT * FROM log.events e
             WHERE e.workspace_id = asked.workspace_id AND e.log_id = p_log_id
             ORDER BY e.workspace_sequence DESC LIMIT 1) l ON true
$$;

REVOKE ALL ON FUNCTION log.read_feed, log.read_ends FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.read_feed, log.read_ends TO customers_api;
