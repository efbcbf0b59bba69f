-- The list of one edition of the read model; `edition_0` stands for its schema. A list is one query
-- whose text is put together from the fixed pieces below; every value stays a parameter of it:
--   $1  the workspace                     $6   patterns of digits in a phone
--   $2  groups of tag keys                $7   the place that the page is behind
--   $3  tag keys that must not be there   $8   offset    $9  limit
--   $4  exact and time filters            $10 … $13  patterns that rank
--   $5  patterns of words
-- Values stand in it as `($4)[1]`, which the planner knows as well as a constant.
--
-- So that a page costs about the same whoever is listed, it is found in one of these ways:
--   everybody, newest first    their stretches are counted off (newest_page in edition_pages.sql)
--   few                        by the index that holds them, all of them; then they are sorted
--   many                       on a walk in the order asked for, until a page is full
--   the best of many matches   by the index of words, but only in a window of the newest customers
-- How many have a tag, its counter tells; how many match a search, a sample of the newest.

-- Which customers are in a list. The arguments are those of list_customers; p_filters holds
-- 1 email_sort_key, 2 email_key, 3 phone, 4 external_id, 5 created_after, 6 updated_after; behind
-- them may stand 7 and 8, what find_window tells: only who is in that window is looked at.
--   p_by_words   whether words may lead into their index, or are only looked for
CREATE FUNCTION edition_0.write_condition(
    p_filters text[], p_tags_any text[], p_tags_none text[], p_anywhere text[], p_phone text[],
    p_by_words boolean
) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Beside an external_id, whose index holds the workspace too, it is written so that it leads
    -- into no other index: before there are statistics, that would look as good.
    v_condition text := CASE WHEN p_filters[4] IS NULL
        THEN 'c.workspace_id = $1' ELSE '(c.workspace_id = $1) IS TRUE' END;
BEGIN
    IF p_filters[1] IS NOT NULL THEN
        v_condition := v_condition || ' AND c.email_sort_key = ($4)[1] AND c.email_key = ($4)[2]';
    END IF;
    IF p_filters[3] IS NOT NULL THEN
        v_condition := v_condition || ' AND c.phone = ($4)[3]';
    END IF;
    IF p_filters[4] IS NOT NULL THEN
        v_condition := v_condition
            || ' AND c.workspace_id || ''/'' || c.external_id = $1 || ''/'' || ($4)[4]';
    END IF;
    IF p_filters[5] IS NOT NULL THEN
        v_condition := v_condition || ' AND c.created_at > ($4)[5]::timestamptz';
    END IF;
    IF p_filters[6] IS NOT NULL THEN
        v_condition := v_condition || ' AND c.updated_at > ($4)[6]::timestamptz';
    END IF;
    IF p_filters[7] IS NOT NULL THEN
        v_condition := v_condition || ' AND (c.created_at > ($4)[7]::timestamptz) IS TRUE'
            || ' AND c.born >> 14 >= ($4)[8]::bigint >> 14';
    END IF;
    FOR i IN 1 .. cardinality(p_tags_any) LOOP
        v_condition := v_condition || format(
            ' AND c.tag_keys && string_to_array(($2)[%s], chr(10))', i);
    END LOOP;
    IF cardinality(p_tags_none) > 0 THEN
        v_condition := v_condition || ' AND NOT c.tag_keys && $3';
    END IF;
    FOR i IN 1 .. coalesce(cardinality(p_anywhere), 0) LOOP
        v_condition := v_condition || CASE WHEN p_phone[i] IS NULL
            THEN format(' AND (c.search_text LIKE ($5)[%s])', i)
            ELSE format(' AND (c.search_text LIKE ($5)[%1$s] OR c.search_text LIKE ($6)[%1$s])', i)
        END || CASE WHEN p_by_words THEN '' ELSE ' IS TRUE' END;
    END LOOP;
    RETURN v_condition;
END $$;

-- A walk in the order of the keys of p_sort: what to select, in which order, and the conditions of
-- its parts, which come one after the other. A part is one run along an index: rows that have the
-- first key come first, those without it in the part behind, in either direction. Behind a place,
-- which holds a value of each key and then the id, a walk begins with the rows of the same first
-- key. NULL is no value: it is behind all others, and equals itself.
CREATE FUNCTION edition_0.plan_walk(
    p_sort text[], p_after text[], OUT keys text[], OUT ordering text, OUT parts text[]
)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_last integer := cardinality(p_sort) + 1;
    v_down boolean;
    v_nullable boolean;
    v_value text;
    -- Whether a row is behind the place by its keys from i on.
    v_behind text;
    v_beyond text;
    v_order text[];
BEGIN
    FOR i IN REVERSE v_last .. 1 LOOP
        -- The id breaks ties in the direction of the last key.
        v_down := starts_with(p_sort[least(i, v_last - 1)], '-');
        keys[i] := CASE WHEN i = v_last THEN 'c.customer_id' ELSE
            CASE ltrim(p_sort[i], '-')
                WHEN 'created_at' THEN 'c.created_at'
                WHEN 'updated_at' THEN 'c.updated_at'
                WHEN 'email' THEN 'c.email_sort_key'
                WHEN 'last_name' THEN 'c.last_name_key'
                WHEN 'company_name' THEN 'c.company_name_key'
            END END;
        IF keys[i] IS NULL THEN
            RAISE EXCEPTION 'no such sort key: %', p_sort[i];
        END IF;
        v_nullable := keys[i] LIKE '%\_key';
        -- Within a part the first key is NULL everywhere or nowhere; NULLS LAST would hide from the
        -- planner that an index has this order.
        v_order[i] := keys[i] || CASE WHEN v_down THEN ' DESC' ELSE '' END
                   || CASE WHEN v_nullable AND i > 1 THEN ' NULLS LAST' ELSE '' END;
        v_value := format('($7)[%s]', i) || CASE
            WHEN i = v_last THEN '::uuid' WHEN v_nullable THEN '' ELSE '::timestamptz' END;
        v_beyond := keys[i] || CASE WHEN v_down THEN ' < ' ELSE ' > ' END || v_value;
        IF i = 1 THEN
            parts := CASE
                WHEN p_after IS NULL AND v_nullable
                    THEN ARRAY[keys[1] || ' IS NOT NULL', keys[1] || ' IS NULL']
                WHEN p_after IS NULL THEN ARRAY['true']
                WHEN p_after[1] IS NULL THEN ARRAY[keys[1] || ' IS NULL AND ' || v_behind]
                ELSE ARRAY[keys[1] || ' = ' || v_value || ' AND ' || v_behind, v_beyond]
                     || CASE WHEN v_nullable THEN ARRAY[keys[1] || ' IS NULL'] END
            END;
        ELSIF p_after[i] IS NULL AND i < v_last THEN
            v_behind := format('(%s IS NULL AND %s)', keys[i], v_behind);
        ELSIF i < v_last THEN
            v_behind := format('(%s OR %s = %s AND %s', v_beyond, keys[i], v_value, v_behind)
                     || CASE WHEN v_nullable THEN format(' OR %s IS NULL)', keys[i]) ELSE ')' END;
        ELSE
            v_behind := v_beyond;
        END IF;
    END LOOP;
    ordering := array_to_string(v_order, ', ');
END $$;

-- The query of a page in the order of p_sort; if p_few, it counts who is listed as well. Its parts
-- are read one after the other, each no further than needed: UNION ALL keeps their order, and a
-- test holds that it does.
--   p_few   whether so few are listed that they are better found first and then sorted: to walk
--           an index until enough of them have come may mean to walk all of it
CREATE FUNCTION edition_0.write_sorted_query(
    p_condition text, p_few boolean, p_sort text[], p_after text[]
) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_walk record := edition_0.plan_walk(p_sort, p_after);
    v_keys text := array_to_string(v_walk.keys, ', ');
    v_parts text[];
BEGIN
    FOR i IN 1 .. cardinality(v_walk.parts) LOOP
        v_parts[i] := format(
            '(SELECT %s FROM %s c WHERE %s AND %s ORDER BY %s LIMIT $8 + $9 + 1)', v_keys,
            CASE WHEN p_few THEN 'few' ELSE 'edition_0.customers' END,
            CASE WHEN p_few THEN 'true' ELSE p_condition END, v_walk.parts[i], v_walk.ordering);
    END LOOP;
    RETURN format($query$
        WITH %1$s page AS MATERIALIZED (
            SELECT c.*, row_number() OVER () AS place
              FROM (SELECT * FROM (%2$s) w OFFSET $8 LIMIT $9 + 1) c
        )
        SELECT edition_0.join_documents(ARRAY(
                   SELECT c.customer_id FROM page c WHERE c.place <= $9 ORDER BY c.place)),
               (SELECT ARRAY[%3$s] FROM page c
                 WHERE c.place = $9 AND (SELECT count(*) FROM page) > $9),
               %4$s$query$,
        CASE WHEN p_few THEN format(
            'few AS MATERIALIZED (SELECT %s FROM edition_0.customers c WHERE %s),',
            v_keys, p_condition) END,
        array_to_string(v_parts, ' UNION ALL '),
        array_to_string(v_walk.keys, '::text, ') || '::text',
        CASE WHEN p_few THEN '(SELECT count(*) FROM few)' ELSE 'NULL::bigint' END);
END $$;

-- The query of a page with the best matches of a search first: those that are a whole field (1),
-- begin one (2), begin words (3), or stand elsewhere (4), the newest first within each. Ranked are
-- the newest p_most matches; who walks on behind them gets the others, the newest first (5).
-- A place is rank, time and id of a match, then time and id of the oldest one that is ranked: that
-- one stays while the walk goes on, so that no match changes its place because others came. Where
-- the list begins, its matches are counted on the way.
--   p_few   whether so few match that they are better all found by their trigrams than one by one
--           among the newest
CREATE FUNCTION edition_0.write_ranking_query(
    p_condition text, p_few boolean, p_phone text[], p_after text[], p_most integer
) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_newest_first text := 'c.created_at DESC, c.customer_id DESC';
    v_starts text := 'true';
    v_behind text := 'true';
    -- Which of the matches are ranked.
    v_ranked text;
    v_older text;
BEGIN
    FOR i IN 1 .. cardinality(p_phone) LOOP
        v_starts := v_starts || CASE WHEN p_phone[i] IS NULL
            THEN format(' AND c.search_text LIKE ($10)[%s]', i)
            ELSE format(' AND (c.search_text LIKE ($10)[%1$s] OR c.search_text LIKE ($11)[%1$s])', i)
        END;
    END LOOP;
    IF p_after IS NULL THEN
        v_ranked := format('ORDER BY %s LIMIT %s', v_newest_first, p_most + 1);
        v_older := 'false';
    ELSIF p_after[1] = '5' THEN
        v_ranked := 'AND false';
        v_older := '(c.created_at, c.customer_id) < (($7)[2]::timestamptz, ($7)[3]::uuid)';
    ELSE
        v_ranked := 'AND (c.created_at, c.customer_id) >= (($7)[4]::timestamptz, ($7)[5]::uuid)';
        v_behind := 'c.rank > ($7)[1]::integer OR c.rank = ($7)[1]::integer
                     AND (c.created_at, c.customer_id) < (($7)[2]::timestamptz, ($7)[3]::uuid)';
        v_older := '(c.created_at, c.customer_id) < (($7)[4]::timestamptz, ($7)[5]::uuid)';
    END IF;
    RETURN format($query$
        WITH matches AS MATERIALIZED (
            SELECT c.created_at, c.customer_id, c.search_text
              FROM %8$s c WHERE %9$s %2$s
        ), ranked AS MATERIALIZED (
            SELECT c.created_at, c.customer_id,
                   CASE WHEN c.search_text LIKE ANY ($12) THEN 1
                        WHEN c.search_text LIKE ANY ($13) THEN 2
                        WHEN %3$s THEN 3
                        ELSE 4 END AS rank
              FROM (SELECT * FROM matches c ORDER BY %6$s LIMIT %7$s) c
        ), best AS MATERIALIZED (
            SELECT c.rank, c.created_at, c.customer_id FROM ranked c WHERE %4$s
             ORDER BY c.rank, %6$s OFFSET $8 LIMIT $9 + 1
        ), page AS MATERIALIZED (
            SELECT c.*, row_number() OVER (ORDER BY c.rank, %6$s) AS place
              FROM (SELECT * FROM best UNION ALL (
                    SELECT 5, c.created_at, c.customer_id FROM edition_0.customers c
                     WHERE %1$s AND %5$s AND (SELECT count(*) FROM best) <= $9
                     ORDER BY %6$s LIMIT $9 + 1)) c
        ), oldest AS (
            SELECT c.created_at, c.customer_id FROM ranked c
             ORDER BY c.created_at, c.customer_id LIMIT 1
        )
        SELECT edition_0.join_documents(ARRAY(
                   SELECT c.customer_id FROM page c WHERE c.place <= $9 ORDER BY c.place)),
               (SELECT ARRAY[c.rank::text, c.created_at::text, c.customer_id::text,
                             coalesce(($7)[4], (SELECT o.created_at::text FROM oldest o)),
                             coalesce(($7)[5], (SELECT o.customer_id::text FROM oldest o))]
                  FROM page c
                 WHERE c.place <= $9 AND ((SELECT count(*) FROM page) > $9
                                          OR (SELECT count(*) FROM matches) > (%7$s))
                 ORDER BY c.place DESC LIMIT 1),
               (SELECT count(*) FROM matches)$query$,
        p_condition, v_ranked, v_starts, v_behind, v_older, v_newest_first,
        CASE WHEN p_after IS NULL THEN p_most::text ELSE 'NULL' END,
        -- OFFSET 0 keeps the order from what finds them.
        CASE WHEN p_few THEN format(
            '(SELECT c.created_at, c.customer_id, c.search_text
                FROM edition_0.customers c WHERE %s OFFSET 0)', p_condition)
            ELSE 'edition_0.customers' END,
        CASE WHEN p_few THEN 'true' ELSE p_condition END);
END $$;

-- A page of the customers of a workspace.
--   p_sort        keys, each with a '-' when it falls; empty: the best matches of the search first
--   p_after       the place of the row that the page is behind, as an earlier page told it
--   p_filters     email sort key, email key, phone, external_id, created after, updated after; NULL
--                 for each that is not wanted
--   p_tags_any    groups of tag keys, each joined by newlines: one of every group must be there
--   p_tags_none   tag keys of which none may be there
--   p_anywhere    NULL without a search; else for each word the LIKE pattern it must match
--   p_phone       for each word the pattern it may match instead, or NULL
--   p_start, p_phone_start    the same at the start of a word, for the ranking
--   p_exact, p_prefix         patterns of the whole query
--   p_most        how many matches of a search are counted and ranked
-- total is exact, but that of a search with more matches is p_most, and total_is_bound is set.
-- next_place is NULL when no row follows.
CREATE FUNCTION edition_0.list_customers(
    p_workspace_id text, p_log_id integer, p_offset bigint, p_limit integer,
    p_sort text[], p_after text[], p_filters text[], p_tags_any text[], p_tags_none text[],
    p_anywhere text[], p_phone text[], p_start text[], p_phone_start text[],
    p_exact text[], p_prefix text[], p_most integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT documents bytea, OUT total bigint, OUT total_is_bound boolean,
    OUT next_place text[]
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET jit = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
    -- Whether customers are chosen by their tags at most.
    v_by_tags boolean := p_anywhere IS NULL AND num_nonnulls(VARIADIC p_filters) = 0
                         AND cardinality(p_tags_none) = 0;
    v_all bigint := edition_0.count_customers(p_workspace_id, '');
    -- So many of the newest tell how frequent the matches of a search are.
    v_sample CONSTANT bigint := greatest(p_most / 25, 1);
    v_few boolean := true;
    -- Whether they are found first and then sorted, however many they are: in the order of a name
    -- those with some word stand together, perhaps at its other end.
    v_sorted boolean := false;
    v_window text[];
    v_condition text := edition_0.write_condition(
        p_filters, p_tags_any, p_tags_none, p_anywhere, p_phone, true);
    v_counted bigint;
    v_both text[];
BEGIN
    SELECT a.live, a.generation, a.checkpoint, a.newest,
           EXISTS (SELECT FROM edition_0.parked p WHERE p.workspace_id = p_workspace_id)
      INTO live, generation, checkpoint, newest, parked
      FROM edition_0.read_age(p_workspace_id, p_log_id) a;

    -- As many matches as are counted come after all / matches * p_most of the newest customers: to
    -- look at each takes a third as long as to fetch one that is found by its words. What the
    -- newest hold tells which are fewer.
    IF p_anywhere IS NOT NULL AND v_all > p_most THEN
        EXECUTE format('SELECT count(*) FROM (
                            SELECT c.* FROM edition_0.customers c WHERE c.workspace_id = $1
                             ORDER BY c.created_at DESC, c.customer_id DESC LIMIT %s) c
                         WHERE %s', v_sample, v_condition)
           INTO v_counted
          USING p_workspace_id, p_tags_any, p_tags_none, p_filters, p_anywhere, p_phone;
        v_few := 3 * v_counted * v_counted * v_all < p_most * v_sample * v_sample;
        v_sorted := p_after IS NULL AND v_counted * v_all < 10 * p_most * v_sample
                    AND coalesce(ltrim(p_sort[1], '-'), 'created_at') <> 'created_at';
        IF NOT v_few THEN
            -- Half as many customers again should hold as many matches as are ranked; where one in
            -- eight matches, to walk along them is as good.
            v_window := CASE WHEN 8 * v_counted < v_sample THEN edition_0.find_window(
                p_workspace_id, p_most * v_sample * 3 / 2 / v_counted, checkpoint) END;
            v_condition := edition_0.write_condition(
                p_filters, p_tags_any, p_tags_none, p_anywhere, p_phone, false);
        END IF;
    END IF;

    -- All customers, and those with or without one tag, are counted already; best matches are
    -- counted while they are ranked.
    IF v_by_tags AND cardinality(p_tags_any) <= 1
       AND strpos(coalesce(p_tags_any[1], ''), chr(10)) = 0
    THEN
        total := edition_0.count_customers(p_workspace_id, coalesce(p_tags_any[1], ''));
    ELSIF cardinality(p_tags_none) = 1 AND cardinality(p_tags_any) = 0 AND p_anywhere IS NULL
          AND num_nonnulls(VARIADIC p_filters) = 0
    THEN
        total := v_all - edition_0.count_customers(p_workspace_id, p_tags_none[1]);
    ELSIF v_by_tags AND cardinality(p_tags_any) = 1
          AND cardinality(string_to_array(p_tags_any[1], chr(10))) = 2
    THEN
        -- With one or the other of two: those with each, less those with both, who are the fewest.
        v_both := string_to_array(p_tags_any[1], chr(10));
        EXECUTE format('SELECT count(*) FROM edition_0.customers c WHERE %s',
                       edition_0.write_condition(p_filters, v_both, p_tags_none, NULL, NULL, true))
           INTO v_counted
          USING p_workspace_id, v_both;
        total := edition_0.count_customers(p_workspace_id, v_both[1])
               + edition_0.count_customers(p_workspace_id, v_both[2]) - v_counted;
    ELSIF p_anywhere IS NULL AND 5 * p_most > (
          SELECT min(g.customers) FROM (
                 SELECT sum(edition_0.count_customers(p_workspace_id, t.tag_key)) AS customers
                   FROM unnest(p_tags_any) WITH ORDINALITY AS a (group_keys, number),
                        unnest(string_to_array(a.group_keys, chr(10))) AS t (tag_key)
                  GROUP BY a.number) g)
    THEN
        -- So few have the rarest of the tags that all are fetched to be counted, and then sorted.
        v_sorted := true;
    ELSIF cardinality(p_sort) > 0 OR p_after IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM (SELECT FROM edition_0.customers c WHERE %s %s) c',
                       v_condition,
                       CASE WHEN NOT v_few THEN format(
                           'ORDER BY c.created_at DESC, c.customer_id DESC LIMIT %s',
                           p_most + 1) END)
           INTO total
          USING p_workspace_id, p_tags_any, p_tags_none, p_filters, p_anywhere, p_phone;
    END IF;

    IF p_offset >= total THEN
        NULL; -- Nobody is that far back.
    ELSIF v_by_tags AND cardinality(p_tags_any) = 0 AND p_sort = ARRAY['-created_at']
          AND p_after IS NULL THEN
        SELECT n.documents, n.next_place INTO documents, next_place
          FROM edition_0.newest_page(p_workspace_id, p_offset, p_limit, total) n;
    ELSIF cardinality(p_sort) > 0 THEN
        -- A page comes after some 20 * all / total customers on the way along an index, and to
        -- find and sort costs about as much for each: whichever are fewer.
        v_few := v_sorted OR total * total < 20 * v_all;
        EXECUTE edition_0.write_sorted_query(
                    CASE WHEN v_sorted THEN edition_0.write_condition(
                        p_filters, p_tags_any, p_tags_none, p_anywhere, p_phone, true)
                        ELSE v_condition END,
                    v_few, p_sort, p_after)
           INTO documents, next_place, v_counted
          USING p_workspace_id, p_tags_any, p_tags_none, p_filters, p_anywhere, p_phone, p_after,
                p_offset, p_limit;
        total := coalesce(total, v_counted);
    ELSE
        v_counted := 0;
        IF v_window IS NOT NULL AND p_after IS NULL THEN
            EXECUTE edition_0.write_ranking_query(
                        edition_0.write_condition(p_filters || v_window, p_tags_any, p_tags_none,
                                                  p_anywhere, p_phone, true),
                        true, p_phone, NULL, p_most)
               INTO documents, next_place, v_counted
              USING p_workspace_id, p_tags_any, p_tags_none, p_filters || v_window, p_anywhere,
                    p_phone, p_after, p_offset, p_limit, p_start, p_phone_start, p_exact, p_prefix;
        END IF;
        IF v_counted <= p_most THEN
            -- All of them, or where the newest hold fewer than they promised.
            EXECUTE edition_0.write_ranking_query(v_condition, v_few, p_phone, p_after, p_most)
               INTO documents, next_place, v_counted
              USING p_workspace_id, p_tags_any, p_tags_none, p_filters, p_anywhere, p_phone,
                    p_after, p_offset, p_limit, p_start, p_phone_start, p_exact, p_prefix;
        END IF;
        total := coalesce(total, v_counted);
    END IF;
    total_is_bound := p_anywhere IS NOT NULL AND total > p_most;
    IF total_is_bound THEN
        total := p_most;
    END IF;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA edition_0 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION edition_0.list_customers TO customers_api;
