-- Erasure in the read model: every edition forgets the customer at once, however far it has come.

-- Takes an erased customer out of every edition; how many editions there are. Waits for a batch
-- under way in each of them; what it would still have brought is refused by edition_<n>.apply.
CREATE FUNCTION projections.forget(p_workspace_id text, p_customer_id uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e record;
    v_editions integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM log.erasures x
                    WHERE x.stream_id = p_customer_id AND x.workspace_id = p_workspace_id) THEN
        RETURN NULL;
    END IF;
    -- The live one first, as a switch does: who holds another one and waits for it would keep the
    -- switch, and all reads with it, waiting for that other one.
    FOR e IN SELECT * FROM projections.editions ORDER BY live DESC, edition LOOP
        EXECUTE format('SELECT %I.forget($1, $2)', e.schema_name)
            USING p_workspace_id, p_customer_id;
        v_editions := v_editions + 1;
    END LOOP;
    UPDATE log.erasures x SET forgotten_at = clock_timestamp(), editions = v_editions
     WHERE x.stream_id = p_customer_id AND x.workspace_id = p_workspace_id
       AND x.forgotten_at IS NULL;
    RETURN v_editions;
END $$;

-- Takes everybody who was erased out of the editions that are being built, or were begun and left;
-- how many. They are read from the log by ranges, and one that was read before an erasure may be
-- written behind it. While the row of a rebuild is locked, nobody counts its customers.
CREATE FUNCTION projections.forget_in_rebuilds() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e record;
    v_found integer;
    v_forgotten integer := 0;
BEGIN
    FOR e IN
        SELECT format('edition_%s', r.edition) AS schema_name FROM projections.rebuilds r
         ORDER BY r.edition FOR NO KEY UPDATE
    LOOP
        CONTINUE WHEN to_regprocedure(format('%I.forget(text, uuid)', e.schema_name)) IS NULL;
        EXECUTE format(
            'SELECT count((%1$I.forget(gone.workspace_id, gone.stream_id))::text)
               FROM (SELECT x.workspace_id, x.stream_id
                       FROM %1$I.customers c JOIN log.erasures x ON x.stream_id = c.customer_id
                      UNION
                     SELECT x.workspace_id, x.stream_id
                       FROM %1$I.parked p JOIN log.erasures x ON x.stream_id = p.customer_id) gone',
            e.schema_name) INTO v_found;
        v_forgotten := v_forgotten + v_found;
    END LOOP;
    RETURN v_forgotten;
END $$;

REVOKE ALL ON FUNCTION projections.forget, projections.forget_in_rebuilds FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projections.forget TO customers_api, customers_relay;
GRANT EXECUTE ON FUNCTION projections.forget_in_rebuilds TO customers_relay;
