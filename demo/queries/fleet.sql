SELECT coalesce(p.manufacturer, 'not registered') AS manufacturer,
       count(*) AS flights,
       sum(f.air_time) / 60 AS hours,
       round(avg(f.distance_km::numeric(7,1)), 1) AS mean_km
FROM mart.fact_flight f
LEFT JOIN mart.dim_plane p ON p.tailnum = f.tailnum
WHERE NOT f.cancelled
GROUP BY 1
HAVING count(*) > 100
