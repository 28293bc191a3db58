-- The warehouse and the six loads that fill it. The queries are in queries/: written as if they loaded everything.

\set fact_flight `cat queries/fact_flight.sql`
\set disruption `cat queries/disruption.sql`
\set flight_event `cat queries/flight_event.sql`
\set dim_airline `cat queries/dim_airline.sql`
\set dim_plane `cat queries/dim_plane.sql`

CREATE SCHEMA mart;

-- The cleaning rule. It does not know yet that a diverted flight has departed and still has no delay and no air time.
CREATE FUNCTION mart.minutes(raw text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT raw::int';

CREATE TABLE mart.fact_flight (
    flight_date date, carrier text, flight int, origin text,
    dest text NOT NULL, dest_name text NOT NULL, departs_at timestamptz NOT NULL, tailnum text, cancelled boolean NOT NULL,
    dep_delay int, arr_delay int, air_time int, distance_km numeric NOT NULL,
    PRIMARY KEY (flight_date, carrier, flight, origin));
CREATE TABLE mart.disruption (
    flight_date date, carrier text, flight int, origin text, kind text NOT NULL, arr_delay int,
    PRIMARY KEY (flight_date, carrier, flight, origin));
CREATE TABLE mart.flight_event (
    flight_date date, carrier text, flight int, origin text, dep_time text, arr_time text, arr_delay text,
    loaded_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE mart.dim_airline (carrier text PRIMARY KEY, name text NOT NULL);
CREATE TABLE mart.dim_plane (
    tailnum text PRIMARY KEY, built int, manufacturer text NOT NULL, model text, engines int, seats int);
CREATE TABLE mart.weather (
    origin text, time_hour timestamptz, temp numeric, humid numeric, wind_speed numeric, precip numeric, visib numeric,
    PRIMARY KEY (origin, time_hour));

SELECT elt.track('raw.flights'), elt.track('raw.airlines'), elt.track('raw.planes'), elt.track('raw.weather') \g /dev/null

SELECT elt.create_load('fact_flight', 'mart.fact_flight', 'raw.flights', :'fact_flight', mode => 'upsert',
                       on_error => 'quarantine', max_rejected => 10000) \g /dev/null
SELECT elt.create_load('disruption', 'mart.disruption', 'raw.flights', :'disruption', mode => 'mirror') \g /dev/null
SELECT elt.create_load('flight_event', 'mart.flight_event', 'raw.flights', :'flight_event', mode => 'append') \g /dev/null
SELECT elt.create_load('dim_airline', 'mart.dim_airline', 'raw.airlines', :'dim_airline', mode => 'mirror') \g /dev/null
SELECT elt.create_load('dim_plane', 'mart.dim_plane', 'raw.planes', :'dim_plane', mode => 'mirror') \g /dev/null
SELECT elt.create_load('weather', 'mart.weather', 'raw.weather') \g /dev/null

-- pg_cron runs one of them. It connects like this session does, wherever cron.host points.
SELECT cron.schedule('dim_plane', '* * * * *', $$CALL elt.run('dim_plane')$$) \g /dev/null
UPDATE cron.job SET nodename = :'HOST' WHERE jobname = 'dim_plane';

CREATE TABLE demo.query (load text PRIMARY KEY, query text);
INSERT INTO demo.query VALUES
    ('fact_flight', :'fact_flight'), ('disruption', :'disruption'), ('flight_event', :'flight_event'),
    ('dim_airline', :'dim_airline'), ('dim_plane', :'dim_plane'),
    ('weather', 'SELECT origin, time_hour, temp, humid, wind_speed, precip, visib FROM raw.weather');

-- Runs a load until it has caught up, and notes what its batches did.
CREATE TABLE demo.ran (
    step int, load text, rows_read bigint, inserted bigint, updated bigint, deleted bigint, rejected bigint, ms numeric,
    batches int);
CREATE FUNCTION demo.load(step int, load text) RETURNS demo.ran LANGUAGE plpgsql AS $$
DECLARE
    t demo.ran := (step, load, 0, 0, 0, 0, 0, 0, 0);
    started timestamptz := clock_timestamp();
    b record;
BEGIN
    LOOP
        SELECT * INTO STRICT b FROM elt.run_batch(load);
        t.rows_read := t.rows_read + b.rows_read;
        t.inserted := t.inserted + b.inserted;
        t.updated := t.updated + b.updated;
        t.deleted := t.deleted + b.deleted;
        t.rejected := t.rejected + b.rejected;
        t.batches := t.batches + 1;
        EXIT WHEN b.pending = 0;
        IF t.batches > 1000 THEN
            RAISE 'load "%" does not catch up', load;
        END IF;
    END LOOP;
    t.ms := extract(epoch FROM clock_timestamp() - started) * 1000;
    INSERT INTO demo.ran VALUES (t.*);
    RETURN t;
END $$;

CREATE FUNCTION demo.n(bigint, width int) RETURNS text LANGUAGE sql AS
    $$ SELECT lpad(CASE WHEN $1 = 0 THEN '.' ELSE to_char($1, 'FM999,999,990') END, width) $$;

-- One step: the loads on what has been delivered, as a line of the table.
CREATE FUNCTION demo.run_step(step int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    s demo.step; a demo.arrived; f demo.ran; d demo.ran; e demo.ran; w demo.ran;
BEGIN
    SELECT * INTO STRICT s FROM demo.step x WHERE x.step = run_step.step;
    SELECT * INTO STRICT a FROM demo.arrived x WHERE x.step = run_step.step;
    f := demo.load(run_step.step, 'fact_flight');
    d := demo.load(run_step.step, 'disruption');
    e := demo.load(run_step.step, 'flight_event');
    w := demo.load(run_step.step, 'weather');
    PERFORM demo.load(run_step.step, 'dim_airline');
    RETURN concat(rpad(to_char(s.first_day, 'Mon DD') || CASE WHEN s.last_day > s.first_day THEN to_char(s.last_day, ' - Mon DD') ELSE '' END, 15),
        ' |', demo.n(a.inserted, 6), demo.n(a.updated, 6), demo.n(a.deleted, 6),
        ' |', demo.n(f.rows_read, 6), demo.n(f.inserted, 6), demo.n(f.updated, 6), demo.n(f.rejected, 5), demo.n(f.ms::bigint, 6),
        ' |', demo.n(d.inserted, 6), demo.n(d.updated, 5), demo.n(d.deleted, 5), demo.n(d.ms::bigint, 6),
        ' |', demo.n(e.inserted, 6), demo.n(e.ms::bigint, 6),
        ' |', demo.n(w.inserted, 6), demo.n(w.ms::bigint, 6));
END $$;
