SELECT make_date(f.year::int, f.month::int, f.day::int) AS flight_date,
       f.carrier,
       f.flight::int AS flight,
       f.origin,
       f.dep_time,
       f.arr_time,
       f.arr_delay
FROM raw.flights f
