SELECT month,
       rank() OVER (PARTITION BY month ORDER BY mean_delay) AS place,
       airline,
       mean_delay
FROM mart.airline_month
WHERE flights >= 100
