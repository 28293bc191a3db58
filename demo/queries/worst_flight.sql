SELECT flight_date, carrier, flight, origin, dest, arr_delay
FROM mart.fact_flight
WHERE arr_delay IS NOT NULL
ORDER BY arr_delay DESC, flight_date, carrier, flight, origin
LIMIT 10
