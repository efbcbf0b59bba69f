-- How one edition of the read model is written; `edition_0` stands for its schema. The functions
-- here and in the files beside this one are the only way in and out: the processes have no right on
-- the tables. Nothing is stored in these files, so newer ones simply replace the functions of every
-- edition.

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

-- So many customers fill a stretch: a deep page counts off about as many.
CREATE FUNCTION edition_0.stretch_size() RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT 2000::bigint';

-- Counts the stretches of an edition whose customers are counted.
CREATE FUNCTION edition_0.count_stretches() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO edition_0.stretches (workspace_id, created_at, customer_id, customers)
    SELECT p.workspace_id,
           CASE WHEN p.number > 0 THEN p.created_at ELSE '-infinity' END,
           CASE WHEN p.number > 0 THEN p.customer_id
                ELSE '00000000-0000-0000-0000-000000000000' END,
           least(edition_0.stretch_size(), k.customers - p.number)
      FROM (SELECT c.workspace_id, c.created_at, c.customer_id,
                   row_number() OVER (PARTITION BY c.workspace_id
                                      ORDER BY c.created_at, c.customer_id) - 1 AS number
              FROM edition_0.customers c) p
      JOIN edition_0.counts k ON k.workspace_id = p.workspace_id AND k.tag_key = ''
     WHERE p.number % edition_0.stretch_size() = 0
$$;

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
        SELECT n.*, o.created_at AS old_created_at, o.born AS old_born,
               o.tag_keys AS old_tag_keys, o.tag_spellings AS old_tag_spellings
          FROM json_to_recordset(p_rows) AS n (
               workspace_id text, customer_id uuid, version integer, position bigint,
               created_at timestamptz, updated_at timestamptz,
               document_at integer, document_length integer, created_at_at integer,
               search_text text, tag_keys text[], tag_spellings text[],
               external_id text, email_key text, phone text, email_sort_key text,
               last_name_key text, company_name_key text)
          LEFT JOIN edition_0.customers o
                 ON o.customer_id = n.customer_id
         WHERE NOT EXISTS (SELECT FROM edition_0.parked p
                            WHERE p.customer_id = n.customer_id)
           -- What was read before the customer was erased, and is still on its way.
           AND NOT EXISTS (SELECT FROM log.erasures x WHERE x.stream_id = n.customer_id)
    ), dated AS (
        SELECT i.*, substring(p_documents FROM i.document_at FOR i.document_length) AS document,
               coalesce(i.created_at, i.old_created_at, (
                    SELECT e.recorded_at FROM log.events e
                     WHERE e.stream_id = i.customer_id AND e.stream_version = 1)) AS born_at,
               coalesce(i.old_born, CASE i.version WHEN 1 THEN i.position END, (
                    SELECT e.position FROM log.events e
                     WHERE e.stream_id = i.customer_id AND e.stream_version = 1)) AS born
          FROM incoming i
    ), written AS (
        INSERT INTO edition_0.customers (
            workspace_id, customer_id, version, position, born, created_at, updated_at, document,
            search_text, tag_keys, tag_spellings, external_id, email_key, phone,
            email_sort_key, last_name_key, company_name_key)
        SELECT d.workspace_id, d.customer_id, d.version, d.position, d.born, d.born_at,
               d.updated_at,
               CASE WHEN d.created_at IS NOT NULL THEN d.document
                    ELSE overlay(d.document PLACING convert_to(to_char(
                            d.born_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8')
                         FROM d.created_at_at FOR 27) END,
               d.search_text, d.tag_keys, d.tag_spellings, d.external_id, d.email_key, d.phone,
               d.email_sort_key, d.last_name_key, d.company_name_key
          FROM dated d
        ON CONFLICT (customer_id) DO UPDATE SET
            version = excluded.version, position = excluded.position,
            created_at = excluded.created_at, updated_at = excluded.updated_at,
            document = excluded.document, search_text = excluded.search_text,
            tag_keys = excluded.tag_keys, tag_spellings = excluded.tag_spellings,
            external_id = excluded.external_id, email_key = excluded.email_key,
            phone = excluded.phone, email_sort_key = excluded.email_sort_key,
            last_name_key = excluded.last_name_key, company_name_key = excluded.company_name_key
    ), removed AS (
        DELETE FROM edition_0.customers c
         USING json_to_recordset(p_gone) AS g (workspace_id text, customer_id uuid)
         WHERE c.customer_id = g.customer_id
           AND NOT EXISTS (SELECT FROM incoming i WHERE i.customer_id = c.customer_id)
        RETURNING c.workspace_id, c.created_at, c.customer_id, c.tag_keys, c.tag_spellings
    ), aged AS (
        SELECT d.workspace_id, d.born_at AS created_at, d.customer_id, 1 AS move
          FROM dated d WHERE d.old_created_at IS NULL
        UNION ALL SELECT r.workspace_id, r.created_at, r.customer_id, -1 FROM removed r
    ), opened AS (
        -- Where the newest stretch is full, the next one begins with the first customer of the
        -- batch that is younger than all there were: nobody who was counted changes stretches.
        SELECT DISTINCT ON (a.workspace_id) a.workspace_id, a.created_at, a.customer_id
          FROM (SELECT DISTINCT g.workspace_id FROM aged g) w
         CROSS JOIN LATERAL (
               SELECT s.customers FROM edition_0.stretches s
                WHERE s.workspace_id = w.workspace_id
                ORDER BY s.created_at DESC, s.customer_id DESC LIMIT 1) last
         CROSS JOIN LATERAL (
               SELECT c.created_at, c.customer_id FROM edition_0.customers c
                WHERE c.workspace_id = w.workspace_id AND last.customers >= edition_0.stretch_size()
                ORDER BY c.created_at DESC, c.customer_id DESC LIMIT 1) youngest
          JOIN aged a ON a.workspace_id = w.workspace_id
           AND (a.created_at, a.customer_id) > (youngest.created_at, youngest.customer_id)
         ORDER BY a.workspace_id, a.created_at, a.customer_id
    ), stretched AS (
        INSERT INTO edition_0.stretches AS s (workspace_id, created_at, customer_id, customers)
        SELECT a.workspace_id, coalesce(o.created_at, s.created_at, '-infinity'),
               coalesce(o.customer_id, s.customer_id, '00000000-0000-0000-0000-000000000000'),
               sum(a.move)
          FROM aged a
          LEFT JOIN opened o ON o.workspace_id = a.workspace_id
           AND (o.created_at, o.customer_id) <= (a.created_at, a.customer_id)
          LEFT JOIN LATERAL (
               SELECT s.created_at, s.customer_id FROM edition_0.stretches s
                WHERE s.workspace_id = a.workspace_id
                  AND (s.created_at, s.customer_id) <= (a.created_at, a.customer_id)
                ORDER BY s.created_at DESC, s.customer_id DESC LIMIT 1) s ON true
         GROUP BY 1, 2, 3 HAVING sum(a.move) <> 0
        ON CONFLICT (workspace_id, created_at, customer_id)
            DO UPDATE SET customers = s.customers + excluded.customers
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
         WHERE NOT EXISTS (SELECT FROM log.erasures x WHERE x.stream_id = n.customer_id)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN 'applied';
END $$;

-- An erased customer is out of this edition, however far it has come: row, counts and what it may
-- have been parked with. Behind the batch under way, which counts from the rows that it found.
CREATE FUNCTION edition_0.forget(p_workspace_id text, p_customer_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_gone record;
BEGIN
    PERFORM FROM edition_0.checkpoints k
      WHERE k.log_id = (SELECT x.log_id FROM log.erasures x
                         WHERE x.stream_id = p_customer_id AND x.workspace_id = p_workspace_id)
        FOR UPDATE;
    DELETE FROM edition_0.parked p
     WHERE p.customer_id = p_customer_id AND p.workspace_id = p_workspace_id;
    DELETE FROM edition_0.customers c
     WHERE c.customer_id = p_customer_id AND c.workspace_id = p_workspace_id
    RETURNING c.created_at, c.tag_keys, c.tag_spellings INTO v_gone;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE edition_0.stretches s SET customers = s.customers - 1
      FROM (SELECT p.created_at, p.customer_id FROM edition_0.stretches p
             WHERE p.workspace_id = p_workspace_id
               AND (p.created_at, p.customer_id) <= (v_gone.created_at, p_customer_id)
             ORDER BY p.created_at DESC, p.customer_id DESC LIMIT 1) p
     WHERE s.workspace_id = p_workspace_id
       AND (s.created_at, s.customer_id) = (p.created_at, p.customer_id);
    WITH moves AS (
        SELECT '' AS tag_key, '' AS spelling
        UNION ALL SELECT * FROM unnest(v_gone.tag_keys, v_gone.tag_spellings)
    )
    UPDATE edition_0.counts k SET customers = k.customers - 1 FROM moves m
     WHERE k.workspace_id = p_workspace_id AND k.tag_key = m.tag_key AND k.spelling = m.spelling;
    DELETE FROM edition_0.counts k
     WHERE k.workspace_id = p_workspace_id AND k.customers = 0
       AND k.tag_key = ANY (v_gone.tag_keys || ''::text);
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edition_0 FROM PUBLIC;
GRANT USAGE ON SCHEMA edition_0 TO customers_api, customers_projector;
GRANT EXECUTE ON FUNCTION
    edition_0.open_checkpoint, edition_0.apply, edition_0.unpark, edition_0.read_parked
TO customers_projector;
