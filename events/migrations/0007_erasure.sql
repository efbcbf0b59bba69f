-- Erasure: a person is forgotten by destroying the data key of the customer.

-- What a customer holds is found without opening any of its payloads.
CREATE INDEX reservations_by_holder ON log.reservations (stream_id);
-- The receipts of writes to one customer; that of a bulk call names no single one.
CREATE INDEX receipts_by_customer ON log.receipts ((result #>> '{event,id}')) WHERE result ? 'event';

-- One row per erasure, written in the transaction that appends its CustomerErased: what was
-- destroyed then, and which of the steps behind it are done. Nothing here is of the person.
CREATE TABLE log.erasures (
    log_id integer NOT NULL,
    -- Of the CustomerErased.
    position bigint NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    stream_id uuid NOT NULL UNIQUE,
    data_key_id uuid,
    -- Of the events that nobody can read any more.
    positions bigint[] NOT NULL,
    erased_at timestamptz NOT NULL,
    key_destroyed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reservations integer NOT NULL,
    receipts integer NOT NULL,
    -- Once every edition of the read model has forgotten the customer; how many there were.
    forgotten_at timestamptz,
    editions integer,
    -- Once the ledger outside of this database names the erasure.
    ledger_at timestamptz,
    -- Once JetStream has deleted the customer's messages; how many there were.
    messages_deleted_at timestamptz,
    messages integer,
    PRIMARY KEY (log_id, position)
);
CREATE INDEX erasures_unfinished ON log.erasures (log_id, position)
    WHERE forgotten_at IS NULL OR ledger_at IS NULL OR messages_deleted_at IS NULL;
CREATE INDEX erasures_by_workspace ON log.erasures (workspace_id, log_id, position);

-- Up to where the ledger was compared with this very database: a restored one has the place of its
-- day, and so compares all that came since.
CREATE TABLE log.ledger_places (
    log_id integer NOT NULL,
    -- Which stream or file it is: another one is compared from its beginning.
    ledger text COLLATE "C" NOT NULL,
    -- The last sequence of the stream, or the bytes of the file.
    place bigint NOT NULL,
    PRIMARY KEY (log_id, ledger)
);

-- Scrubs: each rewrites what may still hold bytes of rows that are gone. What was gone when one
-- started is nowhere in the server's files when it has finished, but for what is `left_over`.
CREATE TABLE log.scrubs (
    scrub_id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    -- The steps that are done; one that was killed goes on behind them.
    steps text[] NOT NULL DEFAULT '{}',
    -- In words: what this server did not let us clean, or what we cannot reach.
    left_over text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX scrubs_newest ON log.scrubs (started_at DESC);

-- When a scrub had finished that began after this erasure had done all its steps, and left nothing
-- over: since then no file of the server holds anything of the customer. NULL: there was none yet.
CREATE FUNCTION log.scrubbed_at(p_log_id integer, p_position bigint) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.finished_at
      FROM log.erasures x
      JOIN log.scrubs s
        ON s.started_at > greatest(x.key_destroyed_at, x.forgotten_at, x.messages_deleted_at)
     WHERE x.log_id = p_log_id AND x.position = p_position
       AND x.forgotten_at IS NOT NULL AND x.messages_deleted_at IS NOT NULL
       AND s.finished_at IS NOT NULL AND s.left_over = '{}'
     ORDER BY s.started_at LIMIT 1
$$;

-- The erasure of a customer, with what makes the consistency token of its CustomerErased.
CREATE FUNCTION log.read_erasure(p_workspace_id text, p_stream_id uuid)
RETURNS TABLE (
    log_id integer, generation integer, "position" bigint, chain bytea, stream_version integer,
    workspace_id text, stream_id uuid, events integer, erased_at timestamptz,
    key_destroyed_at timestamptz, reservations integer, receipts integer,
    forgotten_at timestamptz, editions integer, ledger_at timestamptz,
    messages_deleted_at timestamptz, messages integer, scrubbed_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT x.log_id, log.current_generation(x.log_id), x.position, e.chain, e.stream_version,
           x.workspace_id, x.stream_id, cardinality(x.positions), x.erased_at, x.key_destroyed_at,
           x.reservations, x.receipts, x.forgotten_at, x.editions, x.ledger_at,
           x.messages_deleted_at, x.messages, log.scrubbed_at(x.log_id, x.position)
      FROM (SELECT * FROM log.erasures r WHERE r.stream_id = p_stream_id LIMIT 1) x
      CROSS JOIN LATERAL (
            SELECT * FROM log.events l
             WHERE l.log_id = x.log_id AND l.position = x.position LIMIT 1) e
     WHERE x.workspace_id = p_workspace_id
$$;

-- Takes from the receipts of writes to a customer what their requests could be recognised by.
CREATE FUNCTION log.unlink_receipts(p_workspace_id text, p_stream_id uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
DECLARE
    v_receipts integer;
BEGIN
    UPDATE log.receipts r SET payload_hmac = ''
     WHERE r.result ? 'event' AND r.result #>> '{event,id}' = p_stream_id::text
       AND r.workspace_id = p_workspace_id AND r.payload_hmac <> '';
    GET DIAGNOSTICS v_receipts = ROW_COUNT;
    RETURN v_receipts;
END $$;

-- Erases a customer of this workspace, live or deleted, or answers the erasure that was before; no
-- row when the workspace has no such customer. All of it is one transaction under the log's lock:
--   CustomerErased is appended, and frees the external_id
--   every data key of the customer is destroyed: its payloads are noise from then on
--   receipts stay, so that a late retry makes nobody anew, but without their hash of the request
-- A customer whose CustomerErased is in the log already, but whose key is not gone, loses it now.
CREATE FUNCTION log.erase(
    p_workspace_id text, p_log_id integer, p_stream_id uuid,
    p_event_id uuid, p_command_id uuid, p_metadata bytea,
    p_receipt_key bytea, p_receipt_payload bytea, p_receipt_outcome text
) RETURNS TABLE (
    log_id integer, generation integer, "position" bigint, chain bytea, stream_version integer,
    workspace_id text, stream_id uuid, events integer, erased_at timestamptz,
    key_destroyed_at timestamptz, reservations integer, receipts integer,
    forgotten_at timestamptz, editions integer, ledger_at timestamptz,
    messages_deleted_at timestamptz, messages integer, scrubbed_at timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_newest record;
    v_appended record;
    v_positions bigint[];
    v_held text[];
    v_key uuid;
BEGIN
    -- In a statement of its own, and before anything is looked at: no write comes in between.
    PERFORM pg_advisory_xact_lock(730541, p_log_id);
    SELECT l.log_id, l.workspace_id, l.stream_version, l.type, l.position, l.recorded_at
      INTO v_newest
      FROM log.events l WHERE l.stream_id = p_stream_id ORDER BY l.stream_version DESC LIMIT 1;
    IF NOT FOUND OR v_newest.workspace_id <> p_workspace_id OR v_newest.log_id <> p_log_id THEN
        RETURN;
    END IF;
    SELECT array_agg(l.position), (array_agg(l.data_key_id))[1] INTO v_positions, v_key
      FROM (SELECT e.position, e.data_key_id FROM log.events e
             WHERE e.stream_id = p_stream_id AND e.type <> 'CustomerErased'
             ORDER BY e.stream_version) l;
    SELECT coalesce(array_agg(r.external_id), '{}') INTO v_held
      FROM log.reservations r WHERE r.stream_id = p_stream_id;
    IF v_newest.type <> 'CustomerErased' THEN
        -- The payload is the JSON of schema version 1, in clear: it holds nothing of the person.
        SELECT * INTO STRICT v_appended FROM log.append(
            p_log_id, ARRAY[p_workspace_id], ARRAY[p_command_id],
            ARRAY[1], ARRAY[0], ARRAY[cardinality(v_held)], ARRAY[0],
            ARRAY[p_receipt_key], ARRAY[p_receipt_payload], ARRAY[p_receipt_outcome],
            ARRAY[p_stream_id], ARRAY[v_newest.stream_version + 1], ARRAY[p_event_id],
            ARRAY['CustomerErased'], ARRAY[1], ARRAY[NULL::uuid],
            ARRAY[convert_to(format('{"positions":%s}', array_to_json(v_positions)), 'UTF8')],
            ARRAY[p_metadata],
            '{}'::uuid[], '{}'::uuid[], '{}'::text[], '{}'::bytea[],
            v_held, array_fill(p_stream_id, ARRAY[cardinality(v_held)]),
            '{}'::text[], '{}'::uuid[]);
        IF v_appended.outcome <> 'appended' THEN
            RAISE EXCEPTION 'CustomerErased was not appended: %', v_appended.outcome;
        END IF;
        v_newest.position := v_appended.first_position;
        v_newest.recorded_at := v_appended.recorded_at;
    END IF;
    DELETE FROM log.reservations r WHERE r.stream_id = p_stream_id;
    DELETE FROM keyring.data_keys k WHERE k.stream_id = p_stream_id;
    INSERT INTO log.erasures (log_id, position, workspace_id, stream_id, data_key_id, positions,
                              erased_at, reservations, receipts)
    VALUES (p_log_id, v_newest.position, p_workspace_id, p_stream_id, v_key, v_positions,
            v_newest.recorded_at, cardinality(v_held),
            log.unlink_receipts(p_workspace_id, p_stream_id))
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT * FROM log.read_erasure(p_workspace_id, p_stream_id);
END $$;

-- Which of these customers of a ledger are not erased here: the log has them and no erasure, or
-- their data key is there.
CREATE FUNCTION log.find_unerased(p_workspace_id text[], p_stream_id uuid[])
RETURNS TABLE (workspace_id text, stream_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    SELECT DISTINCT a.workspace_id, a.stream_id
      FROM unnest(p_workspace_id, p_stream_id) AS a (workspace_id, stream_id)
     WHERE EXISTS (SELECT FROM log.events e
                    WHERE e.stream_id = a.stream_id AND e.workspace_id = a.workspace_id)
       AND (NOT EXISTS (SELECT FROM log.erasures x WHERE x.stream_id = a.stream_id)
            OR EXISTS (SELECT FROM keyring.data_keys k WHERE k.stream_id = a.stream_id))
$$;

-- Up to where a ledger was compared; 0 for one that is not known.
CREATE FUNCTION log.read_ledger_place(p_log_id integer, p_ledger text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT p.place FROM log.ledger_places p
                      WHERE p.log_id = p_log_id AND p.ledger = p_ledger), 0)
$$;

-- All entries of a ledger up to this place are erased here.
CREATE FUNCTION log.note_ledger_place(p_log_id integer, p_ledger text, p_place bigint)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO log.ledger_places AS p VALUES (p_log_id, p_ledger, p_place)
    ON CONFLICT (log_id, ledger) DO UPDATE SET place = greatest(p.place, excluded.place)
$$;

-- The ledger names these erasures now.
CREATE FUNCTION log.note_in_ledger(p_log_id integer, p_position bigint[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE log.erasures x SET ledger_at = clock_timestamp()
     WHERE x.log_id = p_log_id AND x.position = ANY (p_position) AND x.ledger_at IS NULL
$$;

-- The ledger was lost, or is an older copy: it is compared from its beginning, and gets every
-- erasure once more.
CREATE FUNCTION log.forget_ledger(p_log_id integer) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM log.ledger_places p WHERE p.log_id = p_log_id;
    UPDATE log.erasures x SET ledger_at = NULL
     WHERE x.log_id = p_log_id AND x.ledger_at IS NOT NULL
$$;

-- JetStream has no message of this customer any more; so many were deleted. The last step: what a
-- write that was under way during the erasure left in a receipt goes now.
CREATE FUNCTION log.note_messages_deleted(p_log_id integer, p_position bigint, p_messages integer)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE log.erasures x
       SET messages_deleted_at = coalesce(x.messages_deleted_at, clock_timestamp()),
           messages = coalesce(x.messages, 0) + p_messages,
           receipts = x.receipts + log.unlink_receipts(x.workspace_id, x.stream_id)
     WHERE x.log_id = p_log_id AND x.position = p_position
$$;

REVOKE ALL ON FUNCTION
    log.scrubbed_at, log.read_erasure, log.unlink_receipts, log.erase, log.find_unerased, log.read_ledger_place,
    log.note_ledger_place, log.note_in_ledger, log.forget_ledger, log.note_messages_deleted
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    log.read_erasure, log.erase, log.find_unerased, log.read_ledger_place, log.note_ledger_place
TO customers_api, customers_relay;
GRANT EXECUTE ON FUNCTION log.scrubbed_at, log.note_in_ledger, log.forget_ledger, log.note_messages_deleted
TO customers_relay;
GRANT SELECT ON log.erasures TO customers_relay;
