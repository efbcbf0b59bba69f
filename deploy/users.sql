-- Run by the owner behind every `customers migrate`: a user to log in with for each process, with
-- the password of its URL. A user has no rights itself, it may only take on the role of its kind.
\set ON_ERROR_STOP on
\if :{?secrets}
\else
\set secrets /run/secrets
\endif
\set api_password `sed 's,.*://[^:]*:\([^@]*\)@.*,\1,' :secrets/api_database_url`
\set relay_password `sed 's,.*://[^:]*:\([^@]*\)@.*,\1,' :secrets/relay_database_url`
\set projector_password `sed 's,.*://[^:]*:\([^@]*\)@.*,\1,' :secrets/projector_database_url`

BEGIN;
SELECT format('CREATE ROLE %I NOINHERIT', name)
FROM unnest(ARRAY['api', 'relay', 'projector']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE api LOGIN PASSWORD :'api_password';
ALTER ROLE relay LOGIN PASSWORD :'relay_password';
ALTER ROLE projector LOGIN PASSWORD :'projector_password';
GRANT CONNECT ON DATABASE :"DBNAME" TO api, relay, projector;
GRANT customers_api TO api WITH INHERIT FALSE, SET TRUE;
GRANT customers_relay TO relay WITH INHERIT FALSE, SET TRUE;
GRANT customers_projector TO projector WITH INHERIT FALSE, SET TRUE;

-- For the health checks of the two that do not speak HTTP.
GRANT USAGE ON SCHEMA control TO relay, projector;
GRANT SELECT (kind, host, state, beat_at) ON control.processes TO relay, projector;
COMMIT;
