-- The log: one append-only, gapless, hash-chained table, with what must commit together with it.

CREATE SCHEMA log;
CREATE SCHEMA keyring;

CREATE TABLE log.events (
    log_id integer NOT NULL,
    -- 1..H without gaps, in commit order: given out by log.append under its lock.
    position bigint NOT NULL CHECK (position > 0),
    workspace_id text COLLATE "C" NOT NULL CHECK (workspace_id ~ '^[a-z0-9-]{1,48}(_test)?$'),
    workspace_sequence bigint NOT NULL CHECK (workspace_sequence > 0),
    stream_id uuid NOT NULL,
    stream_version integer NOT NULL CHECK (stream_version > 0),
    event_id uuid NOT NULL,
    command_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    schema_version integer NOT NULL CHECK (schema_version > 0),
    -- NULL: the payload is clear, because it holds nothing of the person (CustomerErased).
    data_key_id uuid,
    payload bytea NOT NULL,
    metadata bytea NOT NULL,
    recorded_at timestamptz NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    chain bytea NOT NULL CHECK (octet_length(chain) = 32),
    -- Only what holds nothing of the person may be in clear.
    CHECK ((data_key_id IS NULL) = (type = 'CustomerErased')),
    PRIMARY KEY (log_id, position),
    UNIQUE (stream_id, stream_version),
    UNIQUE (event_id),
    -- The workspace first: who knows log and position has only the primary key to walk.
    UNIQUE (workspace_id, log_id, workspace_sequence)
);

-- Ciphertext does not compress; trying costs time in the append's lock.
ALTER TABLE log.events ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'log.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Correct a customer by a new event; forget one by erasure.';
END $$;

CREATE TRIGGER events_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.events ENABLE ALWAYS TRIGGER events_refuse_change;

-- Lineages of a log. Generation 1 needs no row; a row is a fork after a restore to an earlier point.
CREATE TABLE log.generations (
    log_id integer NOT NULL,
    generation integer NOT NULL CHECK (generation > 1),
    -- The last position both lineages share.
    forked_at bigint NOT NULL,
    reason text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log_id, generation)
);

CREATE FUNCTION log.current_generation(p_log_id integer) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(generation), 1) FROM log.generations WHERE log_id = p_log_id
$$;

-- Who holds an external_id: unique among the live customers of a workspace.
CREATE TABLE log.reservations (
    log_id integer NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    stream_id uuid NOT NULL,
    PRIMARY KEY (log_id, workspace_id, external_id)
);

-- What an Idempotency-Key led to: keyed hashes, ids and versions, nothing of the person.
CREATE TABLE log.receipts (
    log_id integer NOT NULL,
    workspace_id text COLLATE "C" NOT NULL,
    -- HMAC of method, path and key.
    key_hmac bytea NOT NULL,
    payload_hmac bytea NOT NULL,
    command_id uuid NOT NULL,
    result jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (log_id, workspace_id, key_hmac)
);
CREATE INDEX receipts_by_age ON log.receipts (log_id, recorded_at);

-- One wrapped data key per customer; to destroy it is to erase the customer's payloads.
CREATE TABLE keyring.data_keys (
    data_key_id uuid PRIMARY KEY,
    workspace_id text COLLATE "C" NOT NULL,
    stream_id uuid NOT NULL,
    master_key_id text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX data_keys_by_stream ON keyring.data_keys (stream_id);

-- Random secrets of a log itself, wrapped by a master key: with what receipts are hashed.
CREATE TABLE keyring.secrets (
    log_id integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    master_key_id text NOT NULL,
    wrapped bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (log_id, name)
);

-- An event of one customer with what it takes to load it: the log's generation now, when the
-- customer was created, whether it was erased since, and the data key that opens the payload.
CREATE TYPE log.stream_event AS (
    generation integer, "position" bigint, chain bytea, stream_id uuid, stream_version integer,
    type text, schema_version integer, payload bytea, recorded_at timestamptz,
    created_at timestamptz, erased boolean, data_key_id uuid, master_key_id text, wrapped bytea
);

-- SHA-256 over every column but digest and chain, each behind its length in four bytes, NULL as
-- length -1; events/chain.py computes the same. One expression, so that the planner inlines it.
CREATE FUNCTION log.event_digest(
    log_id integer, "position" bigint, workspace_id text, workspace_sequence bigint,
    stream_id uuid, stream_version integer, event_id uuid, command_id uuid, type text,
    schema_version integer, data_key_id uuid, payload bytea, metadata bytea,
    recorded_at timestamptz
) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(
        int4send(8) || int8send(log_id)
        || int4send(8) || int8send("position")
        || int4send(octet_length(workspace_id)) || convert_to(workspace_id, 'UTF8')
        || int4send(8) || int8send(workspace_sequence)
        || int4send(16) || uuid_send(stream_id)
        || int4send(8) || int8send(stream_version)
        || int4send(16) || uuid_send(event_id)
        || int4send(16) || uuid_send(command_id)
        || int4send(octet_length(type)) || convert_to(type, 'UTF8')
        || int4send(8) || int8send(schema_version)
        || coalesce(int4send(16) || uuid_send(data_key_id), int4send(-1))
        || int4send(32) || sha256(payload)
        || int4send(32) || sha256(metadata)
        || int4send(8) || timestamptz_send(recorded_at)
    )
$$;
