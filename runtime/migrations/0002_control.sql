-- Workspaces, API keys and the processes that are alive. The owner writes the first two (the
-- command line); the processes reach this schema through the functions below and nothing else.
CREATE SCHEMA control;

CREATE TABLE control.workspaces (
    -- No underscore: `<id>_test`, the sandbox of a workspace, can never be another workspace.
    workspace_id text COLLATE "C" PRIMARY KEY CHECK (workspace_id ~ '^[a-z0-9-]{1,48}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE control.api_keys (
    key_id uuid PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL REFERENCES control.workspaces,
    test boolean NOT NULL,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    -- Empty means full access.
    scopes text[] NOT NULL CHECK (array_position(scopes, NULL) IS NULL),
    -- SHA-256 of the key. The key is 256 random bits, so there is nothing to guess and a slow,
    -- salted hash would protect nothing: it would only make every request slow.
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    -- Kind, first four and last four characters: enough to recognise a key, too little to use it.
    hint text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- A key is rotated at most once; its successor may be rotated in turn.
    rotated_from uuid UNIQUE REFERENCES control.api_keys
);
CREATE INDEX api_keys_workspace ON control.api_keys (workspace_id);

CREATE TABLE control.processes (
    process_id uuid PRIMARY KEY,
    kind text NOT NULL,
    pid integer NOT NULL,
    host text NOT NULL,
    state jsonb NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The key with this hash, if it may be used now; `workspace` is its data space (`acme` or
-- `acme_test`). Whoever cannot present the key cannot know the hash, so this tells nothing more.
CREATE FUNCTION control.find_api_key(wanted bytea)
RETURNS TABLE (key_id uuid, name text, workspace text, scopes text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT k.key_id, k.name, k.workspace_id || CASE WHEN k.test THEN '_test' ELSE '' END,
           k.scopes, k.expires_at
    FROM control.api_keys AS k
    WHERE k.hash = wanted
      AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());
END;

-- A process says that it is alive. The first beat also forgets those silent for a day.
CREATE FUNCTION control.beat(process uuid, kind text, pid integer, host text, state jsonb)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE control.processes AS p SET state = beat.state, beat_at = clock_timestamp()
    WHERE p.process_id = beat.process;
    IF NOT FOUND THEN
        DELETE FROM control.processes AS p WHERE p.beat_at < clock_timestamp() - interval '1 day';
        INSERT INTO control.processes (process_id, kind, pid, host, state)
        VALUES (beat.process, beat.kind, beat.pid, beat.host, beat.state)
        ON CONFLICT (process_id) DO NOTHING;
    END IF;
END
$$;

-- A process that ends in order takes itself off the list.
CREATE FUNCTION control.leave(process uuid)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM control.processes AS p WHERE p.process_id = process;
END;

-- What the newest process of a kind last said of itself, and how long ago.
CREATE FUNCTION control.newest_process(wanted text)
RETURNS TABLE (state jsonb, silent_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT p.state, extract(epoch FROM clock_timestamp() - p.beat_at)::double precision
    FROM control.processes AS p WHERE p.kind = wanted ORDER BY p.beat_at DESC LIMIT 1;
END;

REVOKE ALL ON FUNCTION
    control.newest_process(text),
    control.find_api_key(bytea),
    control.beat(uuid, text, integer, text, jsonb),
    control.leave(uuid)
FROM PUBLIC;
GRANT USAGE ON SCHEMA control TO customers_api, customers_relay, customers_projector;
GRANT EXECUTE ON FUNCTION control.find_api_key(bytea), control.newest_process(text)
TO customers_api;
GRANT EXECUTE ON FUNCTION
    control.beat(uuid, text, integer, text, jsonb),
    control.leave(uuid)
TO customers_api, customers_relay, customers_projector;
