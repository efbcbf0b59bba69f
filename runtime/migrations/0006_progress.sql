-- How far the log, its JetStream stream and the read model are: what metrics and `customers status`
-- tell. Numbers of everybody together, nothing of a workspace.
--
-- The stream's place is what the relay last said of it, at most a beat ago: one that lives before
-- one that is silent, and one that says to publish before all others. Of several that live and say
-- that something else is wrong, it is the one that is furthest, for one that stands by may have seen
-- nothing of the stream. A lag in seconds is the age of the oldest event that is still to come, as
-- of that beat while the relay lives.
CREATE FUNCTION control.read_progress(p_log_id integer)
RETURNS TABLE (
    generation integer, head bigint, checkpoint bigint, projection_lag_seconds double precision,
    sequence bigint, stream_lag_seconds double precision, parked bigint, receipts bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_said_at timestamptz;
BEGIN
    SELECT coalesce(max(g.generation), 1) INTO generation
      FROM log.generations g WHERE g.log_id = p_log_id;
    SELECT coalesce(max(e.position), 0) INTO head FROM log.events e WHERE e.log_id = p_log_id;
    SELECT c.position, c.parked INTO checkpoint, parked
      FROM projections.checkpoints c WHERE c.log_id = p_log_id AND c.live;
    SELECT r.sequence, CASE WHEN r.lives THEN r.beat_at ELSE v_now END
      INTO sequence, v_said_at
      FROM (SELECT (p.state ->> 'sequence')::bigint AS sequence, p.beat_at,
                   p.state ->> 'condition' IN ('publishing', 'damaged') AS publishes,
                   p.beat_at > v_now - interval '10 seconds' AS lives
              FROM control.processes p WHERE p.kind = 'relay') r
     ORDER BY r.lives DESC, r.lives AND r.publishes DESC,
              CASE WHEN r.lives THEN r.sequence END DESC NULLS LAST, r.beat_at DESC
     LIMIT 1;
    SELECT greatest(0, extract(epoch FROM v_now - e.recorded_at)) INTO projection_lag_seconds
      FROM log.events e WHERE e.log_id = p_log_id AND e.position = coalesce(checkpoint, 0) + 1;
    SELECT greatest(0, extract(epoch FROM coalesce(v_said_at, v_now) - e.recorded_at))
      INTO stream_lag_seconds
      FROM log.events e WHERE e.log_id = p_log_id AND e.position = coalesce(sequence, 0) + 1;
    projection_lag_seconds := coalesce(projection_lag_seconds, 0);
    stream_lag_seconds := coalesce(stream_lag_seconds, 0);
    parked := coalesce(parked, 0);
    -- As Postgres estimates it: to count them takes longer the more there are.
    SELECT greatest(0, s.n_live_tup) INTO receipts
      FROM pg_stat_user_tables s WHERE s.relid = 'log.receipts'::regclass;
    receipts := coalesce(receipts, 0);
    RETURN NEXT;
END $$;

REVOKE ALL ON FUNCTION control.read_progress(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.read_progress(integer)
TO customers_api, customers_relay, customers_projector;
