-- What is asked of one edition of the read model, but for lists; `edition_0` stands for its schema.
--
-- The first argument of every function here that the API may call is the workspace, and what is
-- answered is of that workspace only: of none when it is empty or NULL. Every answer says beside
-- its rows, in the same snapshot: whether this edition is still the one to read, how far it has
-- come, the newest position of the workspace, and whether a parked customer may be missed. None
-- scans a table: a plan made while the tables were empty is kept for minutes.

-- How far this edition has come in a log, and whether it is still the one to read. Alone without a
-- workspace: it tells nothing of any.
CREATE FUNCTION edition_0.read_checkpoint(
    p_log_id integer, OUT live boolean, OUT generation integer, OUT "position" bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT e.live INTO live FROM projections.editions e WHERE e.schema_name = 'edition_0';
    SELECT k.generation, k.position INTO generation, "position"
      FROM edition_0.checkpoints k WHERE k.log_id = p_log_id;
END $$;

-- The age of an answer to a workspace.
CREATE FUNCTION edition_0.read_age(
    p_workspace_id text, p_log_id integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
BEGIN
    SELECT coalesce((SELECT e.live FROM projections.editions e
                      WHERE e.schema_name = 'edition_0'), false),
           k.generation, coalesce(k.position, 0),
           coalesce((SELECT l.position FROM log.events l
                      WHERE l.log_id = p_log_id AND l.workspace_id = p_workspace_id
                      ORDER BY l.workspace_sequence DESC LIMIT 1), 0)
      INTO live, generation, checkpoint, newest
      FROM (VALUES (1)) AS one (row)
      LEFT JOIN edition_0.checkpoints k ON k.log_id = p_log_id;
END $$;

-- Customers, in the order asked for; one without a document when the workspace has none of its id,
-- and then `erased` says whether it had. Whose an id is shows in no plan and no time: every miss is
-- looked up in the log.
CREATE FUNCTION edition_0.get_customers(
    p_workspace_id text, p_customer_id uuid[], p_log_id integer
) RETURNS TABLE (
    live boolean, generation integer, checkpoint bigint, newest bigint,
    parked boolean, document bytea, version integer, erased boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_customer_id uuid;
BEGIN
    SELECT a.live, a.generation, a.checkpoint, a.newest
      INTO live, generation, checkpoint, newest
      FROM edition_0.read_age(p_workspace_id, p_log_id) a;
    FOREACH v_customer_id IN ARRAY p_customer_id LOOP
        SELECT EXISTS (SELECT FROM edition_0.parked p
                        WHERE p.customer_id = v_customer_id AND p.workspace_id = p_workspace_id),
               CASE WHEN c.workspace_id = p_workspace_id THEN c.document END,
               CASE WHEN c.workspace_id = p_workspace_id THEN c.version END
          INTO parked, document, version
          FROM (VALUES (1)) AS one (row)
          -- Found by its id, shown only to its workspace.
          LEFT JOIN edition_0.customers c ON c.customer_id = v_customer_id;
        -- A row may outlive the erasure for a moment, but not an edition that has come to it.
        erased := (document IS NULL OR checkpoint < newest)
            AND log.was_erased(p_workspace_id, v_customer_id);
        IF erased THEN
            document := NULL;
            version := NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- The customer that holds an external_id, which an erased one does not. When a parked one and another both seem to, the newer
-- event is right; and while any is parked, that nobody seems to may be wrong.
CREATE FUNCTION edition_0.get_by_external_id(
    p_workspace_id text, p_external_id text, p_log_id integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT document bytea, OUT version integer, OUT erased boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
BEGIN
    SELECT g.* INTO live, generation, checkpoint, newest, parked, document, version, erased
      FROM edition_0.get_customers(p_workspace_id, ARRAY[(
            SELECT c.customer_id FROM edition_0.customers c
             WHERE c.workspace_id || '/' || c.external_id = p_workspace_id || '/' || p_external_id
             ORDER BY c.position DESC LIMIT 1)], p_log_id) g;
    erased := false;
    parked := parked OR document IS NULL
        AND EXISTS (SELECT FROM edition_0.parked p WHERE p.workspace_id = p_workspace_id);
END $$;

-- How many live customers carry a tag, however spelled; all of the workspace for ''.
CREATE FUNCTION edition_0.count_customers(p_workspace_id text, p_tag_key text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(k.customers), 0)::bigint FROM edition_0.counts k
     WHERE k.workspace_id = p_workspace_id AND k.tag_key = p_tag_key
$$;

-- A page of the tags of live customers, the most used first, each as it is spelled most often; and
-- how many tags there are.
CREATE FUNCTION edition_0.list_tags(
    p_workspace_id text, p_log_id integer, p_offset bigint, p_limit integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT spellings text[], OUT counts bigint[], OUT total bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
BEGIN
    SELECT a.live, a.generation, a.checkpoint, a.newest,
           EXISTS (SELECT FROM edition_0.parked p WHERE p.workspace_id = p_workspace_id)
      INTO live, generation, checkpoint, newest, parked
      FROM edition_0.read_age(p_workspace_id, p_log_id) a;
    WITH tags AS MATERIALIZED (
        SELECT k.tag_key, sum(k.customers)::bigint AS customers,
               (array_agg(k.spelling ORDER BY k.customers DESC, k.spelling))[1] AS spelling
          FROM edition_0.counts k
         WHERE k.workspace_id = p_workspace_id AND k.tag_key > ''
         GROUP BY k.tag_key
    ), page AS (
        SELECT * FROM tags t ORDER BY t.customers DESC, t.tag_key OFFSET p_offset LIMIT p_limit
    )
    SELECT array_agg(p.spelling ORDER BY p.customers DESC, p.tag_key),
           array_agg(p.customers ORDER BY p.customers DESC, p.tag_key),
           (SELECT count(*) FROM tags)
      INTO spellings, counts, total
      FROM page p;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edition_0 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    edition_0.read_checkpoint, edition_0.get_customers, edition_0.get_by_external_id,
    edition_0.list_tags
TO customers_api;
