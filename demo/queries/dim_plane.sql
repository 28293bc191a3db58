SELECT p.tailnum,
       nullif(p.year, 'NA')::int AS built,
       p.manufacturer,
       p.model,
       p.engines::int AS engines,
       p.seats::int AS seats
FROM raw.planes p
