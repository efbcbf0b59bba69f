-- Places and documents of the pages of one edition; `edition_0` stands for its schema. Only the
-- list in edition_list.sql calls these.

-- The documents of these customers in this order, joined by commas; only they are fetched.
CREATE FUNCTION edition_0.join_documents(p_customer_ids uuid[]) RETURNS bytea
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT string_agg(c.document, ','::bytea ORDER BY p.place)
              FROM unnest(p_customer_ids) WITH ORDINALITY AS p (customer_id, place)
              JOIN edition_0.customers c ON c.customer_id = p.customer_id
             -- A row may outlive the erasure for a moment; nobody is shown it.
             WHERE NOT EXISTS (
                   SELECT FROM log.erasures x WHERE x.stream_id = c.customer_id));
END $$;

-- The farthest place in the list, newest first, before which no more than p_offset stand, and how
-- many do; behind nobody in a small list.
CREATE FUNCTION edition_0.skip_newest(
    p_workspace_id text, p_offset bigint,
    OUT created_at timestamptz, OUT customer_id uuid, OUT skipped bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    IF p_offset >= edition_0.stretch_size() THEN
        SELECT s.created_at, s.customer_id, s.skipped INTO created_at, customer_id, skipped
          FROM (SELECT t.created_at, t.customer_id, sum(t.customers) OVER (
                           ORDER BY t.created_at DESC, t.customer_id DESC) AS skipped
                  FROM edition_0.stretches t WHERE t.workspace_id = p_workspace_id) s
         WHERE s.skipped <= p_offset ORDER BY s.created_at, s.customer_id LIMIT 1;
    END IF;
    IF skipped IS NULL THEN
        created_at := 'infinity';
        customer_id := '00000000-0000-0000-0000-000000000000';
        skipped := 0;
    END IF;
END $$;

-- The window that holds about so many of the newest customers of a workspace: when the one before
-- them was created, and at which position, behind which all of them were. It is NULL where it would
-- hold all, or very few, or where so much else has happened from that position to p_head that to
-- look there finds them no sooner.
CREATE FUNCTION edition_0.find_window(p_workspace_id text, p_customers bigint, p_head bigint)
RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off AS $$
DECLARE
    v_oldest record := edition_0.skip_newest(p_workspace_id, p_customers);
BEGIN
    RETURN (
        SELECT CASE WHEN c.born > p_head - 4 * p_customers
                    THEN ARRAY[c.created_at::text, c.born::text] END
          FROM edition_0.customers c
         WHERE c.workspace_id = p_workspace_id
           AND (c.created_at, c.customer_id) < (v_oldest.created_at, v_oldest.customer_id)
           AND v_oldest.skipped > 0
         ORDER BY c.created_at DESC, c.customer_id DESC LIMIT 1);
END $$;

-- A page of all customers of a workspace, newest first, found in the index alone; p_total says
-- whether one more follows. By far the most frequent list, so it is planned once; that plan does not
-- know how small a page is and must be kept from sorting everybody.
CREATE FUNCTION edition_0.newest_page(
    p_workspace_id text, p_offset bigint, p_limit integer, p_total bigint,
    OUT documents bytea, OUT next_place text[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_before record := edition_0.skip_newest(p_workspace_id, p_offset);
BEGIN
    WITH page AS MATERIALIZED (
        SELECT c.created_at, c.customer_id FROM edition_0.customers c
         WHERE c.workspace_id = p_workspace_id
           AND (c.created_at, c.customer_id) < (v_before.created_at, v_before.customer_id)
         ORDER BY c.created_at DESC, c.customer_id DESC
        OFFSET p_offset - v_before.skipped LIMIT p_limit
    )
    SELECT string_agg(c.document, ','::bytea ORDER BY p.created_at DESC, p.customer_id DESC),
           (SELECT ARRAY[l.created_at::text, l.customer_id::text] FROM page l
             WHERE p_offset + p_limit < p_total
             ORDER BY l.created_at, l.customer_id LIMIT 1)
      INTO documents, next_place
      FROM page p JOIN edition_0.customers c ON c.customer_id = p.customer_id
     WHERE NOT EXISTS (SELECT FROM log.erasures x WHERE x.stream_id = c.customer_id);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edition_0 FROM PUBLIC;
