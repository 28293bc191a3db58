SELECT date_trunc('month', f.flight_date)::date AS month,
       a.name AS airline,
       count(*) AS flights,
       count(*) FILTER (WHERE f.cancelled) AS cancelled,
       round(avg(f.arr_delay), 1) AS mean_delay,
       max(f.arr_delay) AS longest_delay
FROM mart.fact_flight f
JOIN mart.dim_airline a ON a.carrier = f.carrier
GROUP BY 1, 2
