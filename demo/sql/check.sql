-- Every target against its query over everything, both ways. Returns a line; demo.checked keeps the numbers.

CREATE TABLE demo.checked (target text, rows bigint, missing bigint, extra bigint);

-- Every report that was ever delivered: what an append must have, once each.
CREATE VIEW demo.every_report AS
SELECT year, month, day, dep_time, arr_time, arr_delay, carrier, flight, origin FROM inbox.first_report
UNION ALL
SELECT year, month, day, dep_time, arr_time, arr_delay, carrier, flight, origin FROM inbox.flights WHERE corrected_in IS NOT NULL;

-- The last version of every flight, withdrawn ones too: what an upsert must have.
CREATE VIEW demo.every_flight AS
TABLE raw.flights UNION ALL TABLE demo.withdrawn;

CREATE TABLE demo.reload (LIKE mart.fact_flight INCLUDING ALL);

-- Loads the fact from scratch, into a table of its own; returns milliseconds.
CREATE FUNCTION demo.reload() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
BEGIN
    started := clock_timestamp();
    TRUNCATE demo.reload;
    EXECUTE 'INSERT INTO demo.reload '
        || (SELECT replace(query, 'raw.flights', 'demo.every_flight') FROM demo.query WHERE load = 'fact_flight');
    RETURN extract(epoch FROM clock_timestamp() - started) * 1000;
END $$;

CREATE FUNCTION demo.check_target(target text) RETURNS demo.checked LANGUAGE plpgsql AS $$
DECLARE
    c demo.checked;
    columns text;
    want text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
    WHERE attrelid = ('mart.' || target)::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'loaded_at';
    want := CASE target
        WHEN 'fact_flight' THEN 'TABLE demo.reload'
        WHEN 'flight_event' THEN (SELECT replace(query, 'raw.flights', 'demo.every_report') FROM demo.query WHERE load = target)
        ELSE (SELECT query FROM demo.query WHERE load = target) END;
    c.target := 'mart.' || target;
    EXECUTE format('SELECT count(*) FROM mart.%I', target) INTO c.rows;
    EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM (%2$s) AS q) EXCEPT ALL SELECT %1$s FROM mart.%3$I) AS d',
                   columns, want, target) INTO c.missing;
    EXECUTE format('SELECT count(*) FROM (SELECT %1$s FROM mart.%3$I EXCEPT ALL (SELECT %1$s FROM (%2$s) AS q)) AS d',
                   columns, want, target) INTO c.extra;
    INSERT INTO demo.checked VALUES (c.*);
    RETURN c;
END $$;

-- A precomputed view against its query, by other means than elt's own.
CREATE FUNCTION demo.check_view(view text) RETURNS demo.checked LANGUAGE plpgsql AS $$
DECLARE
    c demo.checked;
    want text := (SELECT query FROM demo.view WHERE name = $1);
BEGIN
    PERFORM elt.refresh('mart.' || view);
    c.target := 'mart.' || view;
    EXECUTE format('SELECT count(*) FROM mart.%I', view) INTO c.rows;
    EXECUTE format('SELECT count(*) FROM ((%s) EXCEPT ALL TABLE mart.%I) AS d', want, view) INTO c.missing;
    EXECUTE format('SELECT count(*) FROM (TABLE mart.%I EXCEPT ALL (%s)) AS d', view, want) INTO c.extra;
    INSERT INTO demo.checked VALUES (c.*);
    RETURN c;
END $$;
