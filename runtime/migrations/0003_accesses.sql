-- Who read a history or an export, or erased somebody: the log of accesses. It says who, what, of
-- whom and when, and never anything of a person but the customer's id.
CREATE TABLE control.accesses (
    access_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    accessed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A word of ours, never a client's.
    action text COLLATE "C" NOT NULL CHECK (action ~ '^[a-z][a-z_]{0,29}$'),
    -- The data space (`acme` or `acme_test`); NULL: all of them, as only an operator can.
    workspace_id text COLLATE "C" CHECK (workspace_id ~ '^[a-z0-9-]{1,48}(_test)?$'),
    -- NULL: every customer of the workspace.
    customer_id uuid,
    -- NULL: an operator's command.
    api_key_id uuid,
    -- Who had logged in to the database: the process that served the key, or the operator.
    login text NOT NULL DEFAULT session_user
);
CREATE INDEX accesses_by_customer ON control.accesses (customer_id, access_id);
CREATE INDEX accesses_by_time ON control.accesses (accessed_at);

CREATE FUNCTION control.refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'control.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER accesses_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON control.accesses
    FOR EACH STATEMENT EXECUTE FUNCTION control.refuse_change();
ALTER TABLE control.accesses ENABLE ALWAYS TRIGGER accesses_refuse_change;

-- Notes an access; when the call has answered, it is kept.
CREATE FUNCTION control.record_access(
    p_workspace_id text, p_action text, p_customer_id uuid, p_api_key_id uuid
) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    INSERT INTO control.accesses (workspace_id, action, customer_id, api_key_id)
    VALUES (p_workspace_id, p_action, p_customer_id, p_api_key_id);
END;

-- The names of these keys of a workspace, whether they can still be used or not: a history tells
-- who by them. What is no key of this very data space has no name here.
CREATE FUNCTION control.name_api_keys(p_workspace_id text, p_key_id uuid[])
RETURNS TABLE (key_id uuid, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT k.key_id, k.name
    FROM control.api_keys AS k
    WHERE k.key_id = ANY (p_key_id)
      AND k.workspace_id || CASE WHEN k.test THEN '_test' ELSE '' END = p_workspace_id;
END;

REVOKE ALL ON FUNCTION
    control.refuse_change(),
    control.record_access(text, text, uuid, uuid),
    control.name_api_keys(text, uuid[])
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.record_access(text, text, uuid, uuid)
TO customers_api, customers_relay;
-- The relay's role is the one of operators' commands, which name keys too.
GRANT EXECUTE ON FUNCTION control.name_api_keys(text, uuid[]) TO customers_api, customers_relay;
