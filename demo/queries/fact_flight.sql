SELECT make_date(f.year::int, f.month::int, f.day::int) AS flight_date,
       f.carrier,
       f.flight::int AS flight,
       f.origin,
       f.dest,
       a.name AS dest_name,
       f.time_hour::timestamptz + f.minute::int * interval '1 minute' AS departs_at,
       nullif(f.tailnum, 'NA') AS tailnum,
       f.dep_time = 'NA' AS cancelled,
       CASE WHEN f.dep_time <> 'NA' THEN f.dep_delay::int END AS dep_delay,
       CASE WHEN f.dep_time <> 'NA' THEN mart.minutes(f.arr_delay) END AS arr_delay,
       CASE WHEN f.dep_time <> 'NA' THEN mart.minutes(f.air_time) END AS air_time,
       round(f.distance::numeric * 1.609344, 1) AS distance_km
FROM raw.flights f
LEFT JOIN raw.airports a ON a.faa = f.dest
