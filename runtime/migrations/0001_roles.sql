-- The roles the processes run as. They belong to the whole server, so another database's
-- migration may have made them, or may be making them at this moment: both are fine.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['customers_api', 'customers_relay', 'customers_projector'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- the other migration was first
            END;
        END IF;
        -- The processes log in as the user of the URL and then become their role. A superuser may
        -- already; anybody else needs to be a member, without the role's rights by inheritance.
        IF NOT pg_has_role(current_user, wanted, 'SET') THEN
            BEGIN
                EXECUTE format('GRANT %I TO current_user WITH SET TRUE, INHERIT FALSE', wanted);
            EXCEPTION WHEN unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;
