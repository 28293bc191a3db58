-- Four precomputed views over the warehouse, and a materialized view of each query to compare with.

\set airline_month `cat queries/airline_month.sql`
\set airline_rank `cat queries/airline_rank.sql`
\set fleet `cat queries/fleet.sql`
\set worst_flight `cat queries/worst_flight.sql`

CREATE TABLE demo.view (i int, name text PRIMARY KEY, query text);
INSERT INTO demo.view VALUES
    (1, 'airline_month', :'airline_month'), (2, 'airline_rank', :'airline_rank'), (3, 'fleet', :'fleet'),
    (4, 'worst_flight', :'worst_flight');

SELECT elt.create_view('mart.' || name, query) FROM demo.view ORDER BY i \g /dev/null
SELECT format('CREATE MATERIALIZED VIEW demo.%I AS %s', name, query) FROM demo.view ORDER BY i \gexec

-- Refreshes all, both ways, and notes what it took.
CREATE TABLE demo.refreshed (step text, view text, strategy text, reason text, written bigint, ms numeric, full_ms numeric);
CREATE PROCEDURE demo.refresh_views(step text) LANGUAGE plpgsql AS $$
DECLARE
    v demo.view;
    r record;
    started timestamptz;
BEGIN
    FOR v IN SELECT * FROM demo.view ORDER BY i LOOP
        SELECT * INTO r FROM elt.refresh('mart.' || v.name);
        COMMIT;
        started := clock_timestamp();
        EXECUTE format('REFRESH MATERIALIZED VIEW demo.%I', v.name);
        COMMIT;
        INSERT INTO demo.refreshed VALUES (step, v.name, r.strategy, r.reason, r.rows_inserted + r.rows_updated + r.rows_deleted, r.ms,
            extract(epoch FROM clock_timestamp() - started) * 1000);
    END LOOP;
END $$;
