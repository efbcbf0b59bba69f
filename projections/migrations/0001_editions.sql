-- The read model is kept in editions: schemas edition_<n>, each one build of it, made from
-- edition.sql. Exactly one is live; to change which, one row is flipped in one transaction.

CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
-- Lets the search index begin with the workspace, so that a search fetches nobody else's customers.
-- Their entries for the same words are still passed over: many of them cost some 0.3 ms.
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA public;

CREATE SCHEMA projections;

CREATE TABLE projections.editions (
    edition integer PRIMARY KEY CHECK (edition > 0),
    schema_name text COLLATE "C" GENERATED ALWAYS AS ('edition_' || edition::text) STORED UNIQUE,
    live boolean NOT NULL DEFAULT false,
    -- SHA-256 of the files the edition's tables and functions were made from.
    tables_checksum text NOT NULL,
    functions_checksum text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX editions_one_live ON projections.editions (live) WHERE live;

-- The edition that answers reads; no row before the first one is made.
CREATE FUNCTION projections.live_edition() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.edition FROM projections.editions e WHERE e.live
$$;

-- How far each edition has come in each log, and how many customers it had to park.
CREATE FUNCTION projections.read_checkpoints()
RETURNS TABLE (
    edition integer, live boolean, log_id integer, generation integer, "position" bigint,
    chain bytea, parked bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e record;
BEGIN
    FOR e IN SELECT * FROM projections.editions LOOP
        RETURN QUERY EXECUTE format(
            'SELECT $1, $2, k.log_id, k.generation, k.position, k.chain,
                    (SELECT count(*) FROM %1$I.parked p WHERE p.log_id = k.log_id)
               FROM %1$I.checkpoints k', e.schema_name) USING e.edition, e.live;
    END LOOP;
END $$;

CREATE VIEW projections.checkpoints AS SELECT * FROM projections.read_checkpoints();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA projections FROM PUBLIC;
GRANT USAGE ON SCHEMA projections TO customers_api, customers_relay, customers_projector;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA projections
    TO customers_api, customers_relay, customers_projector;
GRANT SELECT ON projections.checkpoints TO customers_api, customers_relay, customers_projector;
