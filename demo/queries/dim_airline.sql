SELECT l.carrier, l.name FROM raw.airlines l
