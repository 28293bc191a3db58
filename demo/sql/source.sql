-- The source: schema raw, as the data comes in, and schema inbox, what will come in and when.

CREATE SCHEMA inbox;
CREATE SCHEMA raw;
CREATE SCHEMA demo;

CREATE UNLOGGED TABLE inbox.flights_csv (
    year text, month text, day text, dep_time text, sched_dep_time text, dep_delay text, arr_time text,
    sched_arr_time text, arr_delay text, carrier text, flight text, tailnum text, origin text, dest text, air_time text,
    distance text, hour text, minute text, time_hour text);
\copy inbox.flights_csv FROM PROGRAM 'xz -dc data/flights.csv.xz' CSV HEADER

CREATE TABLE raw.flights (
    LIKE inbox.flights_csv,
    PRIMARY KEY (year, month, day, carrier, flight, origin));
CREATE TABLE raw.airlines (carrier text PRIMARY KEY, name text);
CREATE TABLE raw.airports (
    faa text PRIMARY KEY, name text, lat text, lon text, alt text, tz text, dst text, tzone text);
CREATE TABLE raw.planes (
    tailnum text PRIMARY KEY, year text, type text, manufacturer text, model text, engines text, seats text, speed text,
    engine text);
CREATE TABLE raw.weather (
    origin text, year int, month int, day int, hour int, temp numeric, dewp numeric, humid numeric, wind_dir int,
    wind_speed numeric, wind_gust numeric, precip numeric, pressure numeric, visib numeric, time_hour timestamptz,
    PRIMARY KEY (origin, time_hour));

\copy raw.airlines FROM PROGRAM 'xz -dc data/airlines.csv.xz' CSV HEADER
\copy raw.airports FROM PROGRAM 'xz -dc data/airports.csv.xz' CSV HEADER
CREATE TABLE inbox.planes (LIKE raw.planes);
\copy inbox.planes FROM PROGRAM 'xz -dc data/planes.csv.xz' CSV HEADER
CREATE TABLE inbox.weather (LIKE raw.weather);
\copy inbox.weather FROM PROGRAM 'xz -dc data/weather.csv.xz' CSV HEADER NULL 'NA'

-- Step 0 is what is there before the loads exist; then seven days, then twelve weeks.
CREATE TABLE demo.step AS
SELECT n AS step, d AS first_day,
       CASE WHEN n = 0 THEN date '2013-09-30' WHEN n <= 7 THEN d WHEN n = 19 THEN date '2013-12-31' ELSE d + 6 END AS last_day
FROM (SELECT n, CASE WHEN n = 0 THEN date '2013-01-01'
                     WHEN n <= 7 THEN date '2013-09-30' + n
                     ELSE date '2013-10-08' + (n - 8) * 7 END AS d
      FROM generate_series(0, 19) AS n) AS s;
ALTER TABLE demo.step ADD PRIMARY KEY (step);

-- The data itself is real. What is arranged is when a row comes in: one flight in 25 is first reported with the delay
-- it departed with and corrected a step later (some early ones much later); one cancelled flight in five is withdrawn.
CREATE TABLE inbox.flights AS
SELECT f.*, s.step AS arrives_in,
       CASE WHEN f.arr_delay = 'NA' OR f.arr_delay = f.dep_delay THEN NULL
            WHEN s.first_day = '2013-01-01' AND f.month <> '9' THEN CASE WHEN chance % 300 = 1 THEN 1 + chance / 300 % 19 END
            WHEN chance % 25 = 0 AND s.step < 19 THEN s.step + 1 + CASE WHEN s.step = 0 THEN chance / 25 % 7 ELSE 0 END END AS corrected_in,
       CASE WHEN f.dep_time = 'NA' AND f.month::int >= 9 AND chance % 5 = 2 AND s.step < 18
                 THEN s.step + 2 + CASE WHEN s.step = 0 THEN chance / 5 % 6 ELSE 0 END END AS withdrawn_in,
       s.step = 12 AND chance % 40 = 7 AS slow
FROM inbox.flights_csv f,
     make_date(f.year::int, f.month::int, f.day::int) AS flown,
     CAST(('x' || left(md5(concat_ws(' ', flown, f.carrier, f.flight, f.origin)), 6))::bit(24)::int AS int) AS chance,
     demo.step s
WHERE flown BETWEEN s.first_day AND s.last_day
ORDER BY flown, f.sched_dep_time::int;
DROP TABLE inbox.flights_csv;
CREATE INDEX ON inbox.flights (arrives_in) WHERE arrives_in > 0;
CREATE INDEX ON inbox.flights (corrected_in) WHERE corrected_in IS NOT NULL;
CREATE INDEX ON inbox.flights (withdrawn_in) WHERE withdrawn_in IS NOT NULL;

CREATE VIEW inbox.first_report AS
SELECT year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time,
       CASE WHEN corrected_in IS NULL THEN arr_delay ELSE dep_delay END AS arr_delay,
       carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour, arrives_in, slow
FROM inbox.flights;

ALTER TABLE inbox.planes ADD arrives_in int, ADD retired_in int;
UPDATE inbox.planes p
SET arrives_in = CASE WHEN u.first_day < '2013-10-01' THEN 0 ELSE 1 + ascii(right(p.tailnum, 1)) % 7 END,
    retired_in = CASE WHEN u.last_day < '2013-10-01' THEN 2 + ascii(right(p.tailnum, 1)) % 6 END
FROM (SELECT tailnum, min(make_date(year::int, month::int, day::int)) AS first_day,
             max(make_date(year::int, month::int, day::int)) AS last_day
      FROM inbox.flights GROUP BY tailnum) AS u
WHERE u.tailnum = p.tailnum;

-- What happened to the source, counted where it happens; and rows that are gone from it.
CREATE TABLE demo.arrived (step int PRIMARY KEY, inserted bigint, updated bigint, deleted bigint, weather bigint);
CREATE TABLE demo.withdrawn (LIKE raw.flights);

CREATE PROCEDURE demo.deliver_flights(step int, slow boolean, OUT n bigint) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO raw.flights
    SELECT year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier, flight,
           tailnum, origin, dest, air_time, distance, hour, minute, time_hour
    FROM inbox.first_report r WHERE r.arrives_in = deliver_flights.step AND r.slow = deliver_flights.slow;
    GET DIAGNOSTICS n = ROW_COUNT;
END $$;

CREATE PROCEDURE demo.deliver(step int) LANGUAGE plpgsql AS $$
DECLARE
    added bigint; fixed bigint; gone bigint; hours bigint;
BEGIN
    CALL demo.deliver_flights(deliver.step, false, added);

    UPDATE raw.flights r SET arr_delay = c.arr_delay
    FROM inbox.flights c
    WHERE c.corrected_in = deliver.step AND (r.year, r.month, r.day, r.carrier, r.flight, r.origin)
          = (c.year, c.month, c.day, c.carrier, c.flight, c.origin);
    GET DIAGNOSTICS fixed = ROW_COUNT;

    WITH gone AS (
        DELETE FROM raw.flights r USING inbox.flights c
        WHERE c.withdrawn_in = deliver.step AND (r.year, r.month, r.day, r.carrier, r.flight, r.origin)
              = (c.year, c.month, c.day, c.carrier, c.flight, c.origin)
        RETURNING r.*)
    INSERT INTO demo.withdrawn SELECT * FROM gone;
    GET DIAGNOSTICS gone = ROW_COUNT;

    INSERT INTO raw.weather
    SELECT w.* FROM inbox.weather w, demo.step s
    WHERE s.step = deliver.step AND make_date(w.year, w.month, w.day) BETWEEN s.first_day AND s.last_day;
    GET DIAGNOSTICS hours = ROW_COUNT;

    INSERT INTO raw.planes
    SELECT tailnum, year, type, manufacturer, model, engines, seats, speed, engine
    FROM inbox.planes p WHERE p.arrives_in = deliver.step;
    DELETE FROM raw.planes r USING inbox.planes p WHERE p.retired_in = deliver.step AND p.tailnum = r.tailnum;
    CASE deliver.step
        WHEN 0 THEN
            UPDATE raw.airlines SET name = 'American Eagle Airlines Inc.' WHERE carrier = 'MQ';
            INSERT INTO raw.airlines VALUES ('CO', 'Continental Air Lines Inc.');
        WHEN 3 THEN UPDATE raw.airlines SET name = 'Envoy Air' WHERE carrier = 'MQ';
        WHEN 5 THEN DELETE FROM raw.airlines WHERE carrier = 'CO';
        WHEN 6 THEN UPDATE raw.planes SET manufacturer = 'AIRBUS' WHERE manufacturer = 'AIRBUS INDUSTRIE';
        ELSE NULL;
    END CASE;

    INSERT INTO demo.arrived VALUES (deliver.step, added, fixed, gone, hours);
END $$;

CALL demo.deliver(0);
VACUUM ANALYZE;
