-- The tables of one edition of the read model; `edition_0` stands for its schema.
-- Everything here can be dropped and comes back identical from the log.

CREATE SCHEMA edition_0;

-- How far this edition has come, by log. Moved by compare-and-set in the transaction that moves
-- the rows, so an event is applied exactly once whoever projects.
CREATE TABLE edition_0.checkpoints (
    log_id integer PRIMARY KEY,
    generation integer NOT NULL,
    position bigint NOT NULL,
    -- First eight bytes of the log's chain at this position: recognises another history.
    chain bytea NOT NULL CHECK (octet_length(chain) = 8)
) WITH (fillfactor = 10);

-- One row per live customer.
CREATE TABLE edition_0.customers (
    workspace_id text COLLATE "C" NOT NULL,
    customer_id uuid NOT NULL,
    version integer NOT NULL,
    -- Position of the event this row shows.
    position bigint NOT NULL,
    -- Position of the event that created the customer: who is younger has a higher one.
    born bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- The finished JSON; opaque here, answered as it is.
    document bytea NOT NULL,
    -- Folded fields, see runtime/text.py.
    search_text text COLLATE "C" NOT NULL,
    -- `<workspace>/<folded tag>`, so that one index serves all and mixes none.
    tag_keys text[] COLLATE "C" NOT NULL,
    -- The tags as they were sent, in the order of tag_keys.
    tag_spellings text[] COLLATE "C" NOT NULL,
    external_id text COLLATE "C",
    -- Without case, which decides whether two addresses are the same.
    email_key text COLLATE "C",
    phone text COLLATE "C",
    -- Without case and accents, and never longer than an index entry may be: what is sorted by.
    email_sort_key text COLLATE "C",
    last_name_key text COLLATE "C",
    company_name_key text COLLATE "C",
    -- Alone: a look-up by id has this one index to walk, also in a plan that was made while the
    -- table was empty and any index on the workspace looked as good.
    PRIMARY KEY (customer_id)
) WITH (fillfactor = 90);

CREATE INDEX customers_newest
    ON edition_0.customers (workspace_id, created_at DESC, customer_id DESC);
CREATE INDEX customers_updated
    ON edition_0.customers (workspace_id, updated_at, customer_id);
-- These are walked forward and backward; either way those without a key are a walk of their own.
CREATE INDEX customers_last_name
    ON edition_0.customers (workspace_id, last_name_key, customer_id);
CREATE INDEX customers_company_name
    ON edition_0.customers (workspace_id, company_name_key, customer_id);
CREATE INDEX customers_email
    ON edition_0.customers (workspace_id, email_sort_key, customer_id);
CREATE INDEX customers_phone ON edition_0.customers (workspace_id, phone);
-- Of both in one, `<workspace>/<external_id>`: a look-up has this one index to walk and no other,
-- for the reason given at the primary key.
CREATE INDEX customers_external_id
    ON edition_0.customers ((workspace_id || '/' || external_id));
-- New entries wait in a list (its size in kB) that every search reads and that one unlucky write
-- clears. Without it a write costs four times as much; the longer it is, the less, but a search
-- half a millisecond more, and who waits for the unlucky write some 40 ms.
CREATE INDEX customers_tags ON edition_0.customers USING gin (tag_keys)
    WITH (gin_pending_list_limit = 256);
-- With their age, in steps of 16,384 positions, so that it adds few entries: of what many match
-- only the newest are fetched.
CREATE INDEX customers_search
    ON edition_0.customers USING gin (workspace_id, (born >> 14), search_text public.gin_trgm_ops)
    WITH (gin_pending_list_limit = 2048);

-- How many live customers a workspace has (tag_key ''), and how many carry a tag, by spelling.
-- Moved by the difference of each batch; a count of 0 has no row.
CREATE TABLE edition_0.counts (
    workspace_id text COLLATE "C" NOT NULL,
    tag_key text COLLATE "C" NOT NULL,
    spelling text COLLATE "C" NOT NULL,
    customers bigint NOT NULL,
    PRIMARY KEY (workspace_id, tag_key, spelling)
) WITH (fillfactor = 50);

-- The customers of a workspace by age, in stretches of some thousands: where each begins, and how
-- many live customers stand in it. A page far behind is found by adding them up. A place is that of
-- somebody who was once there; the first begins before everybody, and an empty one stays.
CREATE TABLE edition_0.stretches (
    workspace_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    customer_id uuid NOT NULL,
    customers bigint NOT NULL,
    PRIMARY KEY (workspace_id, created_at, customer_id)
) WITH (fillfactor = 50);

-- Customers whose event could not be applied. Their row, if any, is as it was before `position`.
CREATE TABLE edition_0.parked (
    workspace_id text COLLATE "C" NOT NULL,
    customer_id uuid NOT NULL,
    log_id integer NOT NULL,
    position bigint NOT NULL,
    reason text NOT NULL,
    stack text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (customer_id)
);
CREATE INDEX parked_workspace ON edition_0.parked (workspace_id);
