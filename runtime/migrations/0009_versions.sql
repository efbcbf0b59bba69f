-- Which of the migrations that a process was built with are not applied here: it waits for them.
CREATE FUNCTION control.missing_migrations(p_name text[]) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(n.name ORDER BY n.i), '{}')
      FROM unnest(p_name) WITH ORDINALITY AS n (name, i)
     WHERE NOT EXISTS (SELECT FROM public.customers_migrations m WHERE m.name = n.name)
$$;

REVOKE ALL ON FUNCTION control.missing_migrations(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.missing_migrations(text[])
TO customers_api, customers_relay, customers_projector;
