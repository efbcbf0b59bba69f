-- Editions that are built anew. One that is not complete has a row here and none in
-- projections.editions, so nobody reads, projects or erases in it; it becomes live only behind
-- the head of the log, and with it behind every erasure.

-- Numbers of editions are never used again: who still asks a dropped one must not find another.
CREATE SEQUENCE projections.edition_numbers;
SELECT setval('projections.edition_numbers', coalesce(max(e.edition), 1))
  FROM projections.editions e;

CREATE TABLE projections.rebuilds (
    edition integer PRIMARY KEY,
    log_id integer NOT NULL,
    -- switch: to become live; verify: to be compared, then dropped; drop: nobody wants it any more.
    purpose text NOT NULL CHECK (purpose IN ('switch', 'verify', 'drop')),
    stage text NOT NULL DEFAULT 'reading'
        CHECK (stage IN ('reading', 'indexing', 'catching up', 'switching')),
    -- The log up to here is read by ranges; what comes behind is projected like the live one.
    until_position bigint NOT NULL,
    -- The log's chain there: recognises another history. None before the first event.
    until_chain bytea,
    tables_checksum text NOT NULL,
    -- What makes the indexes that were taken off the empty table of customers.
    indexes text[] NOT NULL,
    is_cancelled boolean NOT NULL DEFAULT false,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Ranges of positions whose customers are in the edition; written in the transaction of the rows.
CREATE TABLE projections.rebuild_ranges (
    edition integer NOT NULL REFERENCES projections.rebuilds ON DELETE CASCADE,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (edition, first_position)
);

-- The complete editions, which are all to be projected.
CREATE FUNCTION projections.list_editions() RETURNS TABLE (edition integer, live boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.edition, e.live FROM projections.editions e ORDER BY e.edition
$$;
REVOKE ALL ON FUNCTION projections.list_editions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projections.list_editions TO customers_projector;
