SELECT make_date(f.year::int, f.month::int, f.day::int) AS flight_date,
       f.carrier,
       f.flight::int AS flight,
       f.origin,
       CASE WHEN f.dep_time = 'NA' THEN 'cancelled' ELSE 'late' END AS kind,
       nullif(f.arr_delay, 'NA')::int AS arr_delay
FROM raw.flights f
WHERE f.dep_time = 'NA' OR nullif(f.arr_delay, 'NA')::int >= 60
