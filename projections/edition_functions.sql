-- The functions of one edition of the read model; `edition_0` stands for its schema. They are the
-- only way in and out: the processes have no right on the tables. Nothing is stored here, so a
-- newer file simply replaces the functions of every edition.

-- Opens the checkpoint of a log, locked until the transaction ends. `belongs` says whether the
-- log still holds what this edition was made of; if so, a newer generation is taken over.
CREATE FUNCTION edition_0.open_checkpoint(
    p_log_id integer,
    OUT generation integer, OUT "position" bigint, OUT chain bytea, OUT belongs boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_newest integer := log.current_generation(p_log_id);
    v_genesis bytea := substring(sha256('') FOR 8);
BEGIN
    INSERT INTO edition_0.checkpoints VALUES (p_log_id, v_newest, 0, v_genesis)
        ON CONFLICT DO NOTHING;
    SELECT k.generation, k.position, k.chain INTO generation, "position", chain
      FROM edition_0.checkpoints k WHERE k.log_id = p_log_id FOR UPDATE;
    belongs := generation <= v_newest AND chain = CASE "position"
        WHEN 0 THEN v_genesis
        ELSE (SELECT substring(e.chain FOR 8) FROM log.events e
               WHERE e.log_id = p_log_id AND e.position = open_checkpoint.position)
    END;
    belongs := coalesce(belongs, false);
    IF belongs AND generation < v_newest THEN
        UPDATE edition_0.checkpoints k SET generation = v_newest WHERE k.log_id = p_log_id;
        generation := v_newest;
    END IF;
END $$;

-- Applies a batch: the rows its customers have now, the customers that are gone, those to park.
-- Answers 'applied', or writes nothing and answers
--   'moved'    the checkpoint is not where the caller has it: the statement that moves it decides
--              between two projectors, and who waits for it sees the other's rows afterwards
--   'foreign'  the log has another event at p_to: the batch came out of a history that is lost
--   p_rows       one object per customer; where created_at is null the customer was not created
--                in this batch, and its time is put into the document at created_at_at
--   p_documents  all documents in one, the objects say where; opaque to Postgres
--   p_gone       {workspace_id, customer_id} of deleted and erased customers; one that has a row
--                as well was restored since
--   p_parked     {workspace_id, customer_id, position, reason, stack}
-- The joins look rows up by customer_id alone, which belongs to one workspace for ever, and by
-- index whatever the statistics say: a plan made while the table was small is kept for long.
CREATE FUNCTION edition_0.apply(
    p_log_id integer, p_generation integer, p_from bigint, p_to bigint, p_chain bytea,
    p_rows json, p_documents bytea, p_gone json, p_parked json
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_empty_workspaces text[];
    v_empty_keys text[];
    v_empty_spellings text[];
BEGIN
    -- What a crash of the server takes back here, rows and checkpoint alike, comes back from the log.
    PERFORM set_config('synchronous_commit', 'off', true);
    -- The chain at a position stands for everything up to it.
    IF p_to > p_from AND NOT EXISTS (
        SELECT FROM log.events e
         WHERE e.log_id = p_log_id AND e.position = p_to AND e.chain = p_chain)
    THEN
        RETURN 'foreign';
    END IF;
    UPDATE edition_0.checkpoints k SET position = p_to, chain = substring(p_chain FOR 8)
     WHERE k.log_id = p_log_id AND k.generation = p_generation AND k.position = p_from;
    IF NOT FOUND THEN
        RETURN 'moved';
    END IF;

    -- What is gone is not out of date, however it came to be parked.
    IF p_gone IS NOT NULL THEN
        DELETE FROM edition_0.parked p
         USING json_to_recordset(p_gone) AS g (workspace_id text, customer_id uuid)
         WHERE p.customer_id = g.customer_id;
    END IF;

    WITH incoming AS MATERIALIZED (
        SELECT n.*, o.created_at AS old_created_at, o.tag_keys AS old_tag_keys,
               o.tag_spellings AS old_tag_spellings
          FROM json_to_recordset(p_rows) AS n (
               workspace_id text, customer_id uuid, version integer, position bigint,
               created_at timestamptz, updated_at timestamptz,
               document_at integer, document_length integer, created_at_at integer,
               search_text text, tag_keys text[], tag_spellings text[],
               external_id text, email_key text, phone text,
               last_name_key text, company_name_key text)
          LEFT JOIN edition_0.customers o
                 ON o.customer_id = n.customer_id
         WHERE NOT EXISTS (SELECT FROM edition_0.parked p
                            WHERE p.customer_id = n.customer_id)
    ), dated AS (
        SELECT i.*, substring(p_documents FROM i.document_at FOR i.document_length) AS document,
               coalesce(i.created_at, i.old_created_at, (
                    SELECT e.recorded_at FROM log.events e
                     WHERE e.stream_id = i.customer_id AND e.stream_version = 1)) AS born_at
          FROM incoming i
    ), written AS (
        INSERT INTO edition_0.customers (
            workspace_id, customer_id, version, position, created_at, updated_at, document,
            search_text, tag_keys, tag_spellings, external_id, email_key, phone,
            last_name_key, company_name_key)
        SELECT d.workspace_id, d.customer_id, d.version, d.position, d.born_at, d.updated_at,
               CASE WHEN d.created_at IS NOT NULL THEN d.document
                    ELSE overlay(d.document PLACING convert_to(to_char(
                            d.born_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8')
                         FROM d.created_at_at FOR 27) END,
               d.search_text, d.tag_keys, d.tag_spellings, d.external_id, d.email_key, d.phone,
               d.last_name_key, d.company_name_key
          FROM dated d
        ON CONFLICT (customer_id) DO UPDATE SET
            version = excluded.version, position = excluded.position,
            created_at = excluded.created_at, updated_at = excluded.updated_at,
            document = excluded.document, search_text = excluded.search_text,
            tag_keys = excluded.tag_keys, tag_spellings = excluded.tag_spellings,
            external_id = excluded.external_id, email_key = excluded.email_key,
            phone = excluded.phone, last_name_key = excluded.last_name_key,
            company_name_key = excluded.company_name_key
    ), removed AS (
        DELETE FROM edition_0.customers c
         USING json_to_recordset(p_gone) AS g (workspace_id text, customer_id uuid)
         WHERE c.customer_id = g.customer_id
           AND NOT EXISTS (SELECT FROM incoming i WHERE i.customer_id = c.customer_id)
        RETURNING c.workspace_id, c.tag_keys, c.tag_spellings
    ), before AS (
        SELECT workspace_id, old_tag_keys AS tag_keys, old_tag_spellings AS tag_spellings
          FROM incoming WHERE old_created_at IS NOT NULL
        UNION ALL SELECT workspace_id, tag_keys, tag_spellings FROM removed
    ), moves AS (
        SELECT workspace_id, '' AS tag_key, '' AS spelling, 1 AS move FROM incoming
        UNION ALL SELECT workspace_id, '', '', -1 FROM before
        UNION ALL
        SELECT i.workspace_id, t.tag_key, t.spelling, 1
          FROM incoming i, unnest(i.tag_keys, i.tag_spellings) AS t (tag_key, spelling)
        UNION ALL
        SELECT b.workspace_id, t.tag_key, t.spelling, -1
          FROM before b, unnest(b.tag_keys, b.tag_spellings) AS t (tag_key, spelling)
    ), counted AS (
        INSERT INTO edition_0.counts AS k (workspace_id, tag_key, spelling, customers)
        SELECT m.workspace_id, m.tag_key, m.spelling, sum(m.move)
          FROM moves m GROUP BY 1, 2, 3 HAVING sum(m.move) <> 0
        ON CONFLICT (workspace_id, tag_key, spelling)
            DO UPDATE SET customers = k.customers + excluded.customers
        RETURNING k.workspace_id, k.tag_key, k.spelling, k.customers
    )
    SELECT array_agg(c.workspace_id), array_agg(c.tag_key), array_agg(c.spelling)
      INTO v_empty_workspaces, v_empty_keys, v_empty_spellings
      FROM counted c WHERE c.customers = 0;

    IF v_empty_keys IS NOT NULL THEN
        DELETE FROM edition_0.counts k
         USING unnest(v_empty_workspaces, v_empty_keys, v_empty_spellings)
            AS z (workspace_id, tag_key, spelling)
         WHERE k.workspace_id = z.workspace_id AND k.tag_key = z.tag_key
           AND k.spelling = z.spelling;
    END IF;
    IF p_parked IS NOT NULL THEN
        INSERT INTO edition_0.parked (workspace_id, customer_id, log_id, position, reason, stack)
        SELECT n.workspace_id, n.customer_id, p_log_id, n.position, n.reason, n.stack
          FROM json_to_recordset(p_parked) AS n (
               workspace_id text, customer_id uuid, position bigint, reason text, stack text)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN 'applied';
END $$;

-- A parked customer is let go, so that the same transaction can apply its newest event.
CREATE FUNCTION edition_0.unpark(p_workspace_id text, p_customer_id uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM edition_0.parked p
     WHERE p.workspace_id = p_workspace_id AND p.customer_id = p_customer_id
$$;

-- All parked customers of a log, the longest parked first.
CREATE FUNCTION edition_0.read_parked(p_log_id integer)
RETURNS TABLE (
    workspace_id text, customer_id uuid, "position" bigint, reason text, stack text,
    parked_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.workspace_id, p.customer_id, p.position, p.reason, p.stack, p.parked_at
      FROM edition_0.parked p WHERE p.log_id = p_log_id ORDER BY p.parked_at, p.customer_id
$$;

-- How far this edition has come in a log, and whether it is still the one to read.
CREATE FUNCTION edition_0.read_checkpoint(
    p_log_id integer, OUT live boolean, OUT generation integer, OUT "position" bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT e.live INTO live FROM projections.editions e WHERE e.schema_name = 'edition_0';
    SELECT k.generation, k.position INTO generation, "position"
      FROM edition_0.checkpoints k WHERE k.log_id = p_log_id;
END $$;

-- Every read answers, beside its rows and in the same snapshot: whether this edition is still the
-- one to read, how far it has come, and the newest position of the workspace. None scans a table:
-- a plan made while the tables were empty is kept for minutes.

-- One customer; document is NULL when the workspace has none of this id.
CREATE FUNCTION edition_0.get_customer(
    p_workspace_id text, p_customer_id uuid, p_log_id integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT document bytea, OUT version integer
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
BEGIN
    SELECT coalesce((SELECT e.live FROM projections.editions e
                      WHERE e.schema_name = 'edition_0'), false),
           k.generation, coalesce(k.position, 0),
           coalesce((SELECT l.position FROM log.events l
                      WHERE l.log_id = p_log_id AND l.workspace_id = p_workspace_id
                      ORDER BY l.workspace_sequence DESC LIMIT 1), 0),
           EXISTS (SELECT FROM edition_0.parked p
                    WHERE p.workspace_id = p_workspace_id AND p.customer_id = p_customer_id),
           CASE WHEN c.workspace_id = p_workspace_id THEN c.document END,
           CASE WHEN c.workspace_id = p_workspace_id THEN c.version END
      INTO live, generation, checkpoint, newest, parked, document, version
      FROM (VALUES (1)) AS one (row)
      LEFT JOIN edition_0.checkpoints k ON k.log_id = p_log_id
      -- Found by its id, shown only to its workspace.
      LEFT JOIN edition_0.customers c ON c.customer_id = p_customer_id;
END $$;

-- A page of customers, newest first, as documents joined by commas; with a search the best matches
-- first. The WHERE clause is put together from fixed pieces; every value is a parameter.
--   p_tags_any      groups of tag keys, each joined by newlines: one of every group must be there
--   p_tags_none     tag keys of which none may be there
--   p_anywhere      NULL without a search; else for each word the LIKE pattern it must match
--   p_phone         for each word the pattern it may match instead, or NULL
--   p_start, p_phone_start    the same at the start of a word, for the ranking
--   p_exact, p_prefix         patterns of the whole query
-- total is exact, but a search counts no further than 10,000 and then sets total_is_bound.
CREATE FUNCTION edition_0.list_customers(
    p_workspace_id text, p_log_id integer, p_offset bigint, p_limit integer,
    p_tags_any text[], p_tags_none text[],
    p_anywhere text[], p_phone text[], p_start text[], p_phone_start text[],
    p_exact text[], p_prefix text[],
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT documents bytea, OUT total bigint, OUT total_is_bound boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
    v_where text := 'c.workspace_id = $1';
    v_starts text := 'true';
BEGIN
    SELECT coalesce((SELECT e.live FROM projections.editions e
                      WHERE e.schema_name = 'edition_0'), false),
           k.generation, coalesce(k.position, 0),
           coalesce((SELECT l.position FROM log.events l
                      WHERE l.log_id = p_log_id AND l.workspace_id = p_workspace_id
                      ORDER BY l.workspace_sequence DESC LIMIT 1), 0),
           EXISTS (SELECT FROM edition_0.parked p WHERE p.workspace_id = p_workspace_id)
      INTO live, generation, checkpoint, newest, parked
      FROM (VALUES (1)) AS one (row)
      LEFT JOIN edition_0.checkpoints k ON k.log_id = p_log_id;
    total_is_bound := false;

    FOR i IN 1 .. cardinality(p_tags_any) LOOP
        v_where := v_where || format(
            ' AND c.tag_keys && string_to_array(($2)[%s], chr(10))', i);
    END LOOP;
    IF cardinality(p_tags_none) > 0 THEN
        v_where := v_where || ' AND NOT c.tag_keys && $3';
    END IF;

    IF p_anywhere IS NULL THEN
        IF cardinality(p_tags_any) = 0 AND cardinality(p_tags_none) = 0 THEN
            total := edition_0.count_customers(p_workspace_id, '');
            IF p_offset < total THEN
                documents := edition_0.newest_page(p_workspace_id, p_offset, p_limit);
            END IF;
            RETURN;
        ELSIF cardinality(p_tags_any) = 1 AND cardinality(p_tags_none) = 0
              AND strpos(p_tags_any[1], chr(10)) = 0 THEN
            total := edition_0.count_customers(p_workspace_id, p_tags_any[1]);
        ELSE
            EXECUTE 'SELECT count(*) FROM edition_0.customers c WHERE ' || v_where
               INTO total USING p_workspace_id, p_tags_any, p_tags_none;
        END IF;
        IF p_offset < total THEN
            -- The page is found in the index alone; only its rows are fetched.
            EXECUTE 'WITH page AS (SELECT c.created_at, c.customer_id FROM edition_0.customers c WHERE '
                    || v_where || ' ORDER BY c.created_at DESC, c.customer_id DESC OFFSET $4 LIMIT $5)
                SELECT string_agg(c.document, $6 ORDER BY p.created_at DESC, p.customer_id DESC)
                  FROM page p JOIN edition_0.customers c
                    ON c.customer_id = p.customer_id'
               INTO documents
               USING p_workspace_id, p_tags_any, p_tags_none, p_offset, p_limit, ','::bytea;
        END IF;
        RETURN;
    END IF;

    FOR i IN 1 .. cardinality(p_anywhere) LOOP
        IF p_phone[i] IS NULL THEN
            v_where := v_where || format(' AND c.search_text LIKE ($4)[%s]', i);
            v_starts := v_starts || format(' AND m.search_text LIKE ($6)[%s]', i);
        ELSE
            v_where := v_where || format(
                ' AND (c.search_text LIKE ($4)[%1$s] OR c.search_text LIKE ($5)[%1$s])', i);
            v_starts := v_starts || format(
                ' AND (m.search_text LIKE ($6)[%1$s] OR m.search_text LIKE ($7)[%1$s])', i);
        END IF;
    END LOOP;
    EXECUTE 'WITH matches AS MATERIALIZED (
            SELECT c.created_at, c.customer_id, c.search_text FROM edition_0.customers c WHERE '
            || v_where || ' ORDER BY c.created_at DESC, c.customer_id DESC LIMIT 10001
        ), ranked AS (
            SELECT m.created_at, m.customer_id,
                   CASE WHEN m.search_text LIKE ANY ($8) THEN 1
                        WHEN m.search_text LIKE ANY ($9) THEN 2
                        WHEN ' || v_starts || ' THEN 3
                        ELSE 4 END AS rank
              FROM (SELECT * FROM matches n
                     ORDER BY n.created_at DESC, n.customer_id DESC LIMIT 10000) m
        ), page AS (
            SELECT * FROM ranked r
             ORDER BY r.rank, r.created_at DESC, r.customer_id DESC OFFSET $10 LIMIT $11
        )
        SELECT (SELECT count(*) FROM matches), (
            SELECT string_agg(c.document, $12 ORDER BY p.rank, p.created_at DESC, p.customer_id DESC)
              FROM page p JOIN edition_0.customers c
                ON c.customer_id = p.customer_id)'
       INTO total, documents
       USING p_workspace_id, p_tags_any, p_tags_none, p_anywhere, p_phone, p_start, p_phone_start,
             p_exact, p_prefix, p_offset, p_limit, ','::bytea;
    IF total > 10000 THEN
        total := 10000;
        total_is_bound := true;
    END IF;
END $$;

-- A page of all customers of a workspace, newest first: the page is found in the index alone, and
-- only its rows are fetched. By far the most frequent list, so it is planned once; that plan does
-- not know how small a page is and must be kept from sorting everybody.
CREATE FUNCTION edition_0.newest_page(p_workspace_id text, p_offset bigint, p_limit integer)
RETURNS bytea
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (
        WITH page AS (
            SELECT c.created_at, c.customer_id FROM edition_0.customers c
             WHERE c.workspace_id = p_workspace_id
             ORDER BY c.created_at DESC, c.customer_id DESC OFFSET p_offset LIMIT p_limit
        )
        SELECT string_agg(c.document, ','::bytea ORDER BY p.created_at DESC, p.customer_id DESC)
          FROM page p JOIN edition_0.customers c
            ON c.customer_id = p.customer_id);
END $$;

-- How many live customers carry a tag, however spelled; all of the workspace for ''.
CREATE FUNCTION edition_0.count_customers(p_workspace_id text, p_tag_key text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(k.customers), 0)::bigint FROM edition_0.counts k
     WHERE k.workspace_id = p_workspace_id AND k.tag_key = p_tag_key
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edition_0 FROM PUBLIC;
GRANT USAGE ON SCHEMA edition_0 TO customers_api, customers_projector;
GRANT EXECUTE ON FUNCTION
    edition_0.get_customer, edition_0.list_customers, edition_0.read_checkpoint
TO customers_api;
GRANT EXECUTE ON FUNCTION
    edition_0.open_checkpoint, edition_0.apply, edition_0.unpark, edition_0.read_parked
TO customers_projector;
