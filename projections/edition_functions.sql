-- The functions of one edition of the read model; `edition_0` stands for its schema. They are the
-- only way in and out: the processes have no right on the tables. Nothing is stored here, so a
-- newer file simply replaces the functions of every edition.

-- Opens the checkpoint of a log, locked until the transaction ends. `belongs` says whether the
-- log still holds what this edition was made of; if so, a newer generation is taken over.
CREATE FUNCTION edition_0.open_checkpoint(
    p_log_id integer,
    OUT generation integer, OUT "position" bigint, OUT belongs boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_newest integer := log.current_generation(p_log_id);
    v_genesis bytea := substring(sha256('') FOR 8);
    v_chain bytea;
BEGIN
    INSERT INTO edition_0.checkpoints VALUES (p_log_id, v_newest, 0, v_genesis)
        ON CONFLICT DO NOTHING;
    SELECT k.generation, k.position, k.chain INTO generation, "position", v_chain
      FROM edition_0.checkpoints k WHERE k.log_id = p_log_id FOR UPDATE;
    belongs := generation <= v_newest AND v_chain = CASE
        WHEN "position" = 0 THEN v_genesis
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
-- Answers false, and writes nothing, when the checkpoint is not where the caller has it: the
-- first statement decides between two projectors, and whoever waits for it sees the other's rows.
--   p_rows       one object per customer; where created_at is null the customer was not created
--                in this batch, and its time is put into the document at created_at_at
--   p_documents  all documents in one, the objects say where; opaque to Postgres
--   p_gone       {workspace_id, customer_id} of deleted and erased customers
--   p_parked     {workspace_id, customer_id, position, reason, stack}
-- The joins look rows up by key whatever the statistics say: a plan made while the table was
-- small is kept for long.
CREATE FUNCTION edition_0.apply(
    p_log_id integer, p_generation integer, p_from bigint, p_to bigint, p_chain bytea,
    p_rows json, p_documents bytea, p_gone json, p_parked json
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_empty_workspaces text[];
    v_empty_keys text[];
    v_empty_spellings text[];
BEGIN
    UPDATE edition_0.checkpoints k SET position = p_to, chain = p_chain
     WHERE k.log_id = p_log_id AND k.generation = p_generation AND k.position = p_from;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    IF p_parked IS NOT NULL THEN
        INSERT INTO edition_0.parked (workspace_id, customer_id, log_id, position, reason, stack)
        SELECT n.workspace_id, n.customer_id, p_log_id, n.position, n.reason, n.stack
          FROM json_to_recordset(p_parked) AS n (
               workspace_id text, customer_id uuid, position bigint, reason text, stack text)
        ON CONFLICT DO NOTHING;
    END IF;
    -- Without a row there is nothing that could be out of date.
    IF p_gone IS NOT NULL THEN
        DELETE FROM edition_0.parked p
         USING json_to_recordset(p_gone) AS g (workspace_id text, customer_id uuid)
         WHERE p.workspace_id = g.workspace_id AND p.customer_id = g.customer_id;
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
                 ON o.workspace_id = n.workspace_id AND o.customer_id = n.customer_id
         WHERE NOT EXISTS (SELECT FROM edition_0.parked p
                            WHERE p.workspace_id = n.workspace_id AND p.customer_id = n.customer_id)
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
        ON CONFLICT (workspace_id, customer_id) DO UPDATE SET
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
         WHERE c.workspace_id = g.workspace_id AND c.customer_id = g.customer_id
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
    RETURN true;
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
    p_log_id integer, OUT generation integer, OUT "position" bigint, OUT live boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT k.generation, k.position INTO generation, "position"
      FROM edition_0.checkpoints k WHERE k.log_id = p_log_id;
    SELECT e.live INTO live FROM projections.editions e WHERE e.schema_name = 'edition_0';
END $$;

-- What a read has to know beside its answer, in the same snapshot: how far this edition has come,
-- the newest position of the workspace, and whether this edition is still the one to read.
CREATE FUNCTION edition_0.read_freshness(
    p_workspace_id text, p_log_id integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT e.live FROM projections.editions e WHERE e.schema_name = 'edition_0'),
           k.generation, coalesce(k.position, 0),
           coalesce((SELECT l.position FROM log.events l WHERE l.workspace_id = p_workspace_id
                      ORDER BY l.workspace_sequence DESC LIMIT 1), 0)
      FROM (VALUES (p_log_id)) AS asked (log_id)
      LEFT JOIN edition_0.checkpoints k ON k.log_id = asked.log_id
$$;
