-- Run once, by the Postgres image, when its volume is new: the owner of the database is not a
-- superuser. It may make roles, which the migrations and users.sql do.
\set ON_ERROR_STOP on
\if :{?secrets}
\else
\set secrets /run/secrets
\endif
\set password `sed 's,.*://[^:]*:\([^@]*\)@.*,\1,' :secrets/customers_database_url`
CREATE ROLE customers LOGIN CREATEROLE PASSWORD :'password';
ALTER DATABASE customers OWNER TO customers;
-- Of a row that Postgres refuses, its log says that and why, and not what the customer is called.
ALTER DATABASE customers SET log_error_verbosity = terse;
REVOKE ALL ON DATABASE customers FROM PUBLIC;
-- For `customers scrub`: to see the files of the write-ahead log, and to have them written over.
GRANT pg_monitor, pg_checkpoint TO customers;
GRANT EXECUTE ON FUNCTION pg_switch_wal() TO customers;
