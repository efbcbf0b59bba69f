-- Appends large groups by the set, and looks for groups that were sent before once a call.
--
-- The rules are those of 0002_append.sql, and the answers too. Each statement in here costs some
-- microseconds however little it does, so a bulk call of 500 customers does each thing once. Of many
-- small groups each goes by itself: to slice the arrays for one member would cost more.
CREATE OR REPLACE FUNCTION log.append(
    p_log_id integer,
    p_workspace_id text[], p_command_id uuid[],
    p_event_count integer[], p_key_count integer[], p_free_count integer[], p_take_count integer[],
    p_receipt_key bytea[], p_receipt_payload bytea[], p_receipt_outcome text[],
    p_stream_id uuid[], p_stream_version integer[], p_event_id uuid[], p_type text[],
    p_schema_version integer[], p_data_key_id uuid[], p_payload bytea[], p_metadata bytea[],
    p_key_id uuid[], p_key_stream_id uuid[], p_key_master_id text[], p_key_wrapped bytea[],
    p_free_external_id text[], p_free_stream_id uuid[],
    p_take_external_id text[], p_take_stream_id uuid[]
) RETURNS TABLE (
    outcome text, first_position bigint, recorded_at timestamptz, stream_id uuid,
    external_id text, command_id uuid, payload_hmac bytea, receipt jsonb,
    generation integer, chain bytea
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Every look-up is a walk down an index, planned once a session: planning anew would cost more than
-- the look-up, and a plan made while the log was empty must still be right when it is large.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    new_events CURSOR FOR
        SELECT * FROM unnest(p_stream_id, p_stream_version, p_event_id, p_type, p_schema_version,
                             p_data_key_id, p_payload, p_metadata)
            AS e (stream_id, stream_version, event_id, type, schema_version, data_key_id, payload, metadata);
    g record;
    e record;
    known record;
    -- Whether an event of the batch is in the log already, so that its group was sent before.
    v_is_resent boolean;
    v_generation integer;
    v_position bigint;
    -- The workspace that v_sequence counts.
    v_workspace text;
    v_sequence bigint;
    v_chain bytea;
    v_digest bytea;
    -- Of the events of a large group, in order.
    v_digests bytea[];
    v_chains bytea[];
    v_now timestamptz;
    -- First and last place of the group's members in the flat arrays.
    e1 integer; e2 integer := 0;
    k1 integer; k2 integer := 0;
    f1 integer; f2 integer := 0;
    t1 integer; t2 integer := 0;
BEGIN
    -- A snapshot older than the lock would check stale versions.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'log.append needs READ COMMITTED, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    -- In a statement of its own: the statements after it see all that was committed before the lock.
    PERFORM pg_advisory_xact_lock(730541, p_log_id);
    v_generation := log.current_generation(p_log_id);

    SELECT l.position, l.chain, l.recorded_at INTO known
      FROM log.events l WHERE l.log_id = p_log_id ORDER BY l.position DESC LIMIT 1;
    v_position := coalesce(known.position, 0);
    v_chain := coalesce(known.chain, sha256(''));
    v_now := greatest(clock_timestamp(), known.recorded_at);
    v_is_resent := EXISTS (
        SELECT FROM unnest(p_event_id) AS sent (event_id)
         WHERE EXISTS (SELECT FROM log.events l WHERE l.event_id = sent.event_id));
    OPEN new_events;

    FOR g IN
        SELECT * FROM unnest(p_workspace_id, p_command_id, p_event_count, p_key_count, p_free_count,
                             p_take_count, p_receipt_key, p_receipt_payload, p_receipt_outcome)
            AS g (workspace_id, command_id, event_count, key_count, free_count, take_count,
                  receipt_key, receipt_payload, receipt_outcome)
    LOOP
        e1 := e2 + 1; e2 := e2 + g.event_count;
        k1 := k2 + 1; k2 := k2 + g.key_count;
        f1 := f2 + 1; f2 := f2 + g.free_count;
        t1 := t2 + 1; t2 := t2 + g.take_count;
        outcome := NULL; first_position := NULL; recorded_at := v_now; stream_id := NULL;
        external_id := NULL; command_id := NULL; payload_hmac := NULL; receipt := NULL;
        generation := v_generation; chain := v_chain;

        -- The answer to an earlier sending of this very group was lost: it is in the log already.
        IF v_is_resent AND g.event_count > 0 THEN
            SELECT l.position, l.recorded_at, last.chain INTO known
              FROM log.events l
              JOIN log.events last ON last.event_id = p_event_id[e2]
             WHERE l.event_id = p_event_id[e1] AND l.command_id = g.command_id;
            IF FOUND THEN
                -- Something to commit: only a commit waits for a synchronous standby, and the one
                -- of the earlier sending may have been cut off while it waited.
                PERFORM pg_logical_emit_message(true, 'customers', '');
                outcome := 'appended'; first_position := known.position;
                recorded_at := known.recorded_at; chain := known.chain;
            END IF;
        END IF;

        IF outcome IS NULL AND g.receipt_key IS NOT NULL THEN
            SELECT r.command_id, r.payload_hmac, r.result, r.recorded_at INTO known
              FROM log.receipts r
             WHERE r.log_id = p_log_id AND r.workspace_id = g.workspace_id AND r.key_hmac = g.receipt_key;
            IF FOUND THEN
                PERFORM pg_logical_emit_message(true, 'customers', '');
                outcome := CASE WHEN known.command_id = g.command_id THEN 'appended' ELSE 'replayed' END;
                command_id := known.command_id; payload_hmac := known.payload_hmac;
                receipt := known.result; recorded_at := known.recorded_at;
            END IF;
        END IF;

        IF outcome IS NULL AND g.event_count = 1 THEN
            -- The stream goes on exactly where the log has it, in the same workspace.
            SELECT l.stream_version, l.workspace_id INTO known
              FROM log.events l WHERE l.stream_id = p_stream_id[e1]
             ORDER BY l.stream_version DESC LIMIT 1;
            IF p_stream_version[e1] <> coalesce(known.stream_version, 0) + 1
               OR known.workspace_id <> g.workspace_id
            THEN
                outcome := 'version_conflict'; stream_id := p_stream_id[e1];
            END IF;
        ELSIF outcome IS NULL AND g.event_count > 1 THEN
            -- Every stream of the group goes on exactly where the log has it, in the same workspace.
            SELECT s.stream_id INTO stream_id
              FROM (SELECT u.stream_id, min(u.stream_version) AS first, max(u.stream_version) AS last,
                           count(*) AS events
                      FROM unnest(p_stream_id[e1:e2], p_stream_version[e1:e2]) AS u (stream_id, stream_version)
                     GROUP BY u.stream_id) s
              LEFT JOIN LATERAL (
                    SELECT l.stream_version, l.workspace_id FROM log.events l
                     WHERE l.stream_id = s.stream_id ORDER BY l.stream_version DESC LIMIT 1) tip ON true
             WHERE s.first <> coalesce(tip.stream_version, 0) + 1
                OR s.last <> s.first + s.events - 1
                OR tip.workspace_id <> g.workspace_id
             LIMIT 1;
            IF FOUND THEN
                outcome := 'version_conflict';
            END IF;
        END IF;

        IF outcome IS NULL AND t1 = t2 THEN
            SELECT r.stream_id INTO known FROM log.reservations r
             WHERE r.log_id = p_log_id AND r.workspace_id = g.workspace_id
               AND r.external_id = p_take_external_id[t1];
            IF FOUND AND NOT EXISTS (
                SELECT FROM generate_series(f1, f2) AS f (i)
                 WHERE p_free_external_id[f.i] = p_take_external_id[t1]
                   AND p_free_stream_id[f.i] = known.stream_id)
            THEN
                outcome := 'key_taken';
                external_id := p_take_external_id[t1]; stream_id := known.stream_id;
            END IF;
        ELSIF outcome IS NULL AND t1 < t2 THEN
            -- Taken is what another holds, unless the group itself frees it.
            SELECT r.external_id, r.stream_id INTO known
              FROM unnest(p_take_external_id[t1:t2]) WITH ORDINALITY AS t (external_id, i)
              CROSS JOIN LATERAL (
                    SELECT * FROM log.reservations r
                     WHERE r.log_id = p_log_id AND r.workspace_id = g.workspace_id
                       AND r.external_id = t.external_id LIMIT 1) r
             WHERE NOT EXISTS (
                    SELECT FROM unnest(p_free_external_id[f1:f2], p_free_stream_id[f1:f2])
                             AS f (external_id, stream_id)
                     WHERE f.external_id = r.external_id AND f.stream_id = r.stream_id)
             ORDER BY t.i LIMIT 1;
            IF FOUND THEN
                outcome := 'key_taken';
                external_id := known.external_id; stream_id := known.stream_id;
            END IF;
        END IF;

        IF outcome IS NOT NULL THEN
            MOVE FORWARD (g.event_count) FROM new_events;
            RETURN NEXT;
            CONTINUE;
        END IF;

        IF k1 = k2 THEN
            INSERT INTO keyring.data_keys (data_key_id, workspace_id, stream_id, master_key_id, wrapped)
            VALUES (p_key_id[k1], g.workspace_id, p_key_stream_id[k1], p_key_master_id[k1], p_key_wrapped[k1]);
        ELSIF k1 < k2 THEN
            INSERT INTO keyring.data_keys (data_key_id, workspace_id, stream_id, master_key_id, wrapped)
            SELECT k.data_key_id, g.workspace_id, k.stream_id, k.master_key_id, k.wrapped
              FROM unnest(p_key_id[k1:k2], p_key_stream_id[k1:k2], p_key_master_id[k1:k2],
                          p_key_wrapped[k1:k2]) AS k (data_key_id, stream_id, master_key_id, wrapped);
        END IF;
        FOR i IN f1 .. f2 LOOP
            DELETE FROM log.reservations r
             WHERE r.log_id = p_log_id AND r.workspace_id = g.workspace_id
               AND r.external_id = p_free_external_id[i] AND r.stream_id = p_free_stream_id[i];
        END LOOP;
        IF t1 = t2 THEN
            INSERT INTO log.reservations (log_id, workspace_id, external_id, stream_id)
            VALUES (p_log_id, g.workspace_id, p_take_external_id[t1], p_take_stream_id[t1]);
        ELSIF t1 < t2 THEN
            INSERT INTO log.reservations (log_id, workspace_id, external_id, stream_id)
            SELECT p_log_id, g.workspace_id, t.external_id, t.stream_id
              FROM unnest(p_take_external_id[t1:t2], p_take_stream_id[t1:t2]) AS t (external_id, stream_id);
        END IF;

        IF g.event_count > 0 THEN
            first_position := v_position + 1;
            IF v_workspace IS DISTINCT FROM g.workspace_id THEN
                v_workspace := g.workspace_id;
                SELECT l.workspace_sequence INTO v_sequence
                  FROM log.events l WHERE l.log_id = p_log_id AND l.workspace_id = g.workspace_id
                 ORDER BY l.workspace_sequence DESC LIMIT 1;
                IF NOT FOUND THEN
                    -- Its first event. A workspace is in one log for ever: customers, their versions
                    -- and the read model are found by the workspace and not by the log. Whoever
                    -- begins a workspace waits for the others who do, whatever their log.
                    PERFORM pg_advisory_xact_lock(730541, 0);
                    IF EXISTS (SELECT FROM log.events l WHERE l.workspace_id = g.workspace_id) THEN
                        RAISE EXCEPTION 'the workspace is in another log of this database'
                            USING ERRCODE = '23L01';
                    END IF;
                    v_sequence := 0;
                END IF;
            END IF;
            IF g.event_count = 1 THEN
                FETCH new_events INTO e;
                v_position := v_position + 1;
                v_sequence := v_sequence + 1;
                v_digest := log.event_digest(
                    p_log_id, v_position, g.workspace_id, v_sequence, e.stream_id, e.stream_version,
                    e.event_id, g.command_id, e.type, e.schema_version, e.data_key_id, e.payload,
                    e.metadata, v_now);
                v_chain := sha256(v_chain || v_digest);
                INSERT INTO log.events VALUES (
                    p_log_id, v_position, g.workspace_id, v_sequence, e.stream_id, e.stream_version,
                    e.event_id, g.command_id, e.type, e.schema_version, e.data_key_id, e.payload,
                    e.metadata, v_now, v_digest, v_chain);
            ELSE
                MOVE FORWARD (g.event_count) FROM new_events;
                v_digests := ARRAY(
                    SELECT log.event_digest(
                               p_log_id, v_position + e.i, g.workspace_id, v_sequence + e.i, e.stream_id,
                               e.stream_version, e.event_id, g.command_id, e.type, e.schema_version,
                               e.data_key_id, e.payload, e.metadata, v_now)
                      FROM unnest(p_stream_id[e1:e2], p_stream_version[e1:e2], p_event_id[e1:e2],
                                  p_type[e1:e2], p_schema_version[e1:e2], p_data_key_id[e1:e2],
                                  p_payload[e1:e2], p_metadata[e1:e2]) WITH ORDINALITY
                        AS e (stream_id, stream_version, event_id, type, schema_version, data_key_id,
                              payload, metadata, i)
                     ORDER BY e.i);
                v_chains := '{}';
                FOR i IN 1 .. g.event_count LOOP
                    v_chain := sha256(v_chain || v_digests[i]);
                    v_chains[i] := v_chain;
                END LOOP;
                INSERT INTO log.events
                SELECT p_log_id, v_position + e.i, g.workspace_id, v_sequence + e.i, e.stream_id,
                       e.stream_version, e.event_id, g.command_id, e.type, e.schema_version,
                       e.data_key_id, e.payload, e.metadata, v_now, e.digest, e.chain
                  FROM unnest(p_stream_id[e1:e2], p_stream_version[e1:e2], p_event_id[e1:e2],
                              p_type[e1:e2], p_schema_version[e1:e2], p_data_key_id[e1:e2],
                              p_payload[e1:e2], p_metadata[e1:e2], v_digests, v_chains) WITH ORDINALITY
                    AS e (stream_id, stream_version, event_id, type, schema_version, data_key_id,
                          payload, metadata, digest, chain, i);
                v_position := v_position + g.event_count;
                v_sequence := v_sequence + g.event_count;
            END IF;
        END IF;
        IF g.receipt_key IS NOT NULL THEN
            INSERT INTO log.receipts VALUES (
                p_log_id, g.workspace_id, g.receipt_key, g.receipt_payload, g.command_id,
                g.receipt_outcome::jsonb, v_now);
        END IF;
        outcome := 'appended';
        chain := v_chain;
        RETURN NEXT;
    END LOOP;
END $$;
