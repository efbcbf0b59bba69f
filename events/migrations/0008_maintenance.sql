-- What maintenance needs: keys wrapped anew. All of it is the owner's: no process wraps a key again.

-- Puts another wrapping around data keys, each only while it is wrapped as the caller has read it;
-- how many. One that was destroyed meanwhile stays destroyed.
CREATE FUNCTION keyring.rewrap_data_keys(
    p_data_key_id uuid[], p_was bytea[], p_master_key_id text, p_wrapped bytea[]
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_rewrapped integer;
BEGIN
    UPDATE keyring.data_keys k SET master_key_id = p_master_key_id, wrapped = n.wrapped
      FROM unnest(p_data_key_id, p_was, p_wrapped) AS n (data_key_id, was, wrapped)
     WHERE k.data_key_id = n.data_key_id AND k.wrapped = n.was;
    GET DIAGNOSTICS v_rewrapped = ROW_COUNT;
    RETURN v_rewrapped;
END $$;

-- The same for one secret of a log; whether it was wrapped as the caller has read it.
CREATE FUNCTION keyring.rewrap_secret(
    p_log_id integer, p_name text, p_was bytea, p_master_key_id text, p_wrapped bytea
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE keyring.secrets s SET master_key_id = p_master_key_id, wrapped = p_wrapped
     WHERE s.log_id = p_log_id AND s.name = p_name AND s.wrapped = p_was;
    RETURN FOUND;
END $$;

-- How many keys each master key wraps, secrets of logs among them.
CREATE VIEW keyring.master_keys AS
    SELECT master_key_id, sum(keys)::bigint AS keys
      FROM (SELECT master_key_id, count(*) AS keys FROM keyring.data_keys GROUP BY 1
            UNION ALL
            SELECT master_key_id, count(*) FROM keyring.secrets GROUP BY 1) AS used
     GROUP BY master_key_id;

REVOKE ALL ON FUNCTION keyring.rewrap_data_keys, keyring.rewrap_secret FROM PUBLIC;
