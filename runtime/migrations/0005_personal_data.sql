-- Who read what is known of one person: part of the answer to that person's own request for access.

-- The accesses to all customers of a workspace, or of every workspace.
CREATE INDEX accesses_to_all ON control.accesses (workspace_id, accessed_at)
    WHERE customer_id IS NULL;

-- The accesses that named one customer of this workspace, in order, behind one of them.
CREATE FUNCTION control.accesses_to_customer(
    p_workspace_id text, p_customer_id uuid, p_after bigint, p_limit integer
) RETURNS TABLE (
    access_id bigint, accessed_at timestamptz, action text, api_key_id uuid, api_key_name text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- A walk along one index, however many accesses there are to others.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
    SELECT a.access_id, a.accessed_at, a.action, a.api_key_id,
           (SELECT n.name FROM control.name_api_keys(p_workspace_id, ARRAY[a.api_key_id]) n)
      FROM control.accesses a
     WHERE a.customer_id = p_customer_id AND a.access_id > p_after
       AND a.workspace_id = p_workspace_id
     ORDER BY a.access_id LIMIT p_limit
$$;

-- Since a moment, how often all customers of this workspace were read at once, by what and by which
-- key; by an operator who read all workspaces too.
CREATE FUNCTION control.accesses_to_all(p_workspace_id text, p_since timestamptz)
RETURNS TABLE (
    action text, api_key_id uuid, api_key_name text, accesses bigint,
    first_at timestamptz, last_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off AS $$
    SELECT a.action, a.api_key_id,
           (SELECT n.name FROM control.name_api_keys(p_workspace_id, ARRAY[a.api_key_id]) n),
           count(*), min(a.accessed_at), max(a.accessed_at)
      FROM (SELECT * FROM control.accesses o
             WHERE o.customer_id IS NULL AND o.workspace_id = p_workspace_id
               AND o.accessed_at >= p_since
            UNION ALL
            SELECT * FROM control.accesses o
             WHERE o.customer_id IS NULL AND o.workspace_id IS NULL
               AND o.accessed_at >= p_since) a
     GROUP BY a.action, a.api_key_id
     ORDER BY min(a.accessed_at), a.action, a.api_key_id
$$;

REVOKE ALL ON FUNCTION control.accesses_to_customer, control.accesses_to_all FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.accesses_to_customer, control.accesses_to_all
TO customers_api, customers_relay;
