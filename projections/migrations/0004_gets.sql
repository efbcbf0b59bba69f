-- Gets are asked for many customers at once. An edition with the tables of an earlier version keeps
-- its functions until a rebuilt one is live, and serves on by this one in front of them.
DO $$
DECLARE
    v_schema text;
BEGIN
    FOR v_schema IN SELECT e.schema_name FROM projections.editions e LOOP
        EXECUTE format(
            'CREATE FUNCTION %1$I.get_customers(
                 p_workspace_id text, p_customer_id uuid[], p_log_id integer
             ) RETURNS TABLE (
                 live boolean, generation integer, checkpoint bigint, newest bigint,
                 parked boolean, document bytea, version integer, erased boolean
             )
             LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $get$
                 SELECT g.*
                   FROM unnest(p_customer_id) WITH ORDINALITY AS asked (customer_id, i),
                        %1$I.get_customer(p_workspace_id, asked.customer_id, p_log_id) g
                  ORDER BY asked.i
             $get$;
             REVOKE ALL ON FUNCTION %1$I.get_customers FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION %1$I.get_customers TO customers_api', v_schema);
    END LOOP;
END $$;
