-- The four airports that the list lacks.
INSERT INTO raw.airports VALUES
    ('SJU', 'Luis Munoz Marin Intl', '18.4394', '-66.0018', '9', '-4', 'N', 'America/Puerto_Rico'),
    ('BQN', 'Rafael Hernandez', '18.4949', '-67.1294', '237', '-4', 'N', 'America/Puerto_Rico'),
    ('PSE', 'Mercedita', '18.0083', '-66.5630', '29', '-4', 'N', 'America/Puerto_Rico'),
    ('STT', 'Cyril E King', '18.3373', '-64.9734', '23', '-4', 'N', 'America/St_Thomas');

-- The cleaning rule, knowing diverted flights.
CREATE OR REPLACE FUNCTION mart.minutes(raw text) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT nullif(raw, 'NA')::int$$;
