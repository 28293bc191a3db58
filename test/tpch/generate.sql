-- Fills the tables of schema.sql. Every value is a hash of its row's number, so that the data is the same each time:
--   SET tpch.scale = '0.01'; SET tpch.seed = '1';
-- Scale 1 is 6 million line items. The distributions are those of TPC-H where its queries depend on them.

-- A number from low to high, made of a row's number; each salt gives another one.
CREATE FUNCTION tpch_random(n bigint, salt bigint, low int, high int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT low + ((hashint8extended(n, salt) & 9223372036854775807) % (high - low + 1))::int $$;
CREATE FUNCTION tpch_pick(n bigint, salt bigint, choices text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT choices[1 + ((hashint8extended(n, salt) & 9223372036854775807) % cardinality(choices))::int] $$;
CREATE FUNCTION tpch_word(n bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT tpch_pick(n, salt, '{special,requests,pending,accounts,carefully,furiously,deposits,packages,ironic,express,final,
		quickly,regular,theodolites,Customer,Complaints,blithely,sleep,above,even,bold,slyly,foxes,ideas}') $$;
-- From 1 to 6 words. Written so that the planner puts it, and all that it calls, into the query.
CREATE FUNCTION tpch_words(n bigint, salt bigint, count int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT tpch_word(n, salt) || CASE WHEN count > 1 THEN ' ' || tpch_word(n, salt + 100) ELSE '' END
		|| CASE WHEN count > 2 THEN ' ' || tpch_word(n, salt + 200) ELSE '' END || CASE WHEN count > 3 THEN ' ' || tpch_word(n, salt + 300) ELSE '' END
		|| CASE WHEN count > 4 THEN ' ' || tpch_word(n, salt + 400) ELSE '' END || CASE WHEN count > 5 THEN ' ' || tpch_word(n, salt + 500) ELSE '' END $$;
CREATE FUNCTION tpch_color(n bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT tpch_pick(n, salt, '{almond,azure,beige,black,blue,brown,chocolate,coral,cream,cyan,dark,forest,ghost,gold,green,honeydew,indian,ivory,khaki,lace,
		lemon,lime,linen,magenta,maroon,metallic,mint,navy,olive,orange}') $$;
CREATE FUNCTION tpch_phone(nation int, n bigint, salt bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT format('%s-%s-%s-%s', nation + 10, tpch_random(n, salt + 1, 100, 999), tpch_random(n, salt + 2, 100, 999), tpch_random(n, salt + 3, 1000, 9999)) $$;
CREATE FUNCTION tpch_price(part int) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT (90000 + part / 10 % 20001 + 100 * (part % 1000)) / 100.00 $$;
-- The i-th of the four suppliers of a part.
CREATE FUNCTION tpch_supplier(part int, i int, suppliers int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT (part + i * (suppliers / 4 + (part - 1) / suppliers)) % suppliers + 1 $$;
CREATE FUNCTION tpch_order_date(n bigint, seed bigint) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
	$$ SELECT date '1992-01-01' + tpch_random(n, seed + 1, 0, 2405) $$;

-- How many rows there are, also for those that are made later.
CREATE TABLE tpch_size AS SELECT s AS scale, seed * 100000 AS seed, greatest((s * 10000)::int, 40) AS suppliers, (s * 150000)::int AS customers,
	(s * 200000)::int AS parts, (s * 1500000)::bigint AS orders
FROM (SELECT coalesce(nullif(current_setting('tpch.scale', true), ''), '0.01')::numeric AS s,
	coalesce(nullif(current_setting('tpch.seed', true), ''), '1')::bigint AS seed) settings;

-- The line items of a range of orders. OFFSET 0: of what is computed once, so that what uses it can be put into the query.
CREATE FUNCTION tpch_lineitems(first bigint, last bigint) RETURNS SETOF lineitem LANGUAGE sql STABLE AS $$
	SELECT o, part, tpch_supplier(part, tpch_random(n, seed + 20, 0, 3), suppliers), line, quantity::numeric(15, 2),
		(quantity * tpch_price(part))::numeric(15, 2), (tpch_random(n, seed + 21, 0, 10) / 100.0)::numeric(15, 2),
		(tpch_random(n, seed + 22, 0, 8) / 100.0)::numeric(15, 2),
		CASE WHEN received <= '1995-06-17' THEN tpch_pick(n, seed + 23, '{R,A}') ELSE 'N' END,
		CASE WHEN shipped > '1995-06-17' THEN 'O' ELSE 'F' END,
		shipped, ordered + tpch_random(n, seed + 24, 30, 90), received,
		tpch_pick(n, seed + 25, '{DELIVER IN PERSON,COLLECT COD,NONE,TAKE BACK RETURN}'),
		tpch_pick(n, seed + 26, '{REG AIR,AIR,RAIL,SHIP,TRUCK,MAIL,FOB}'), tpch_words(n, seed + 27, 3)
	FROM tpch_size, generate_series(first, last) o, generate_series(1, tpch_random(o, seed + 10, 1, 7)) line,
		LATERAL (SELECT o * 8 + line AS n OFFSET 0) numbered,
		LATERAL (SELECT tpch_order_date(o, seed) AS ordered, tpch_random(n, seed + 28, 1, parts) AS part, tpch_random(n, seed + 29, 1, 50) AS quantity OFFSET 0) a,
		LATERAL (SELECT ordered + tpch_random(n, seed + 30, 1, 121) AS shipped OFFSET 0) b,
		LATERAL (SELECT shipped + tpch_random(n, seed + 31, 1, 30) AS received OFFSET 0) c $$;

-- A range of orders: a third of the customers never orders.
CREATE FUNCTION tpch_orders(first bigint, last bigint) RETURNS SETOF orders LANGUAGE sql STABLE AS $$
	SELECT o, ((customer - 1) / 2 * 3 + (customer - 1) % 2 + 1)::int,
		CASE WHEN count(*) FILTER (WHERE l_linestatus = 'O') = 0 THEN 'F' WHEN count(*) FILTER (WHERE l_linestatus = 'F') = 0 THEN 'O' ELSE 'P' END,
		sum(round(l_extendedprice * (1 + l_tax) * (1 - l_discount), 2))::numeric(15, 2), tpch_order_date(o, seed),
		tpch_pick(o, seed + 40, '{1-URGENT,2-HIGH,3-MEDIUM,4-NOT SPECIFIED,5-LOW}'),
		'Clerk#' || lpad(tpch_random(o, seed + 41, 1, greatest((scale * 1000)::int, 1))::text, 9, '0'), 0, tpch_words(o, seed + 42, 4)
	FROM tpch_size, generate_series(first, last) o, LATERAL (SELECT tpch_random(o, seed + 43, 1, customers * 2 / 3) AS customer) c,
		tpch_lineitems(first, last) WHERE l_orderkey = o GROUP BY o, customer, seed, scale $$;

INSERT INTO region SELECT n - 1, name, tpch_words(n, 1, 6) FROM unnest('{AFRICA,AMERICA,ASIA,EUROPE,MIDDLE EAST}'::text[]) WITH ORDINALITY r(name, n);
INSERT INTO nation SELECT n - 1, split_part(name, '/', 1), split_part(name, '/', 2)::int, tpch_words(n, 2, 6)
	FROM unnest('{ALGERIA/0,ARGENTINA/1,BRAZIL/1,CANADA/1,EGYPT/4,ETHIOPIA/0,FRANCE/3,GERMANY/3,INDIA/2,INDONESIA/2,IRAN/4,IRAQ/4,JAPAN/2,JORDAN/4,KENYA/0,
		MOROCCO/0,MOZAMBIQUE/0,PERU/1,CHINA/2,ROMANIA/3,SAUDI ARABIA/4,VIETNAM/2,RUSSIA/3,UNITED KINGDOM/3,UNITED STATES/1}'::text[])
		WITH ORDINALITY n(name, n);
-- of the first suppliers each nation has one
INSERT INTO supplier SELECT n, 'Supplier#' || lpad(n::text, 9, '0'), tpch_words(n, seed + 50, 2), nation, tpch_phone(nation, n, seed + 51),
		(tpch_random(n, seed + 55, -99999, 999999) / 100.0)::numeric(15, 2),
		CASE WHEN n % 200 = 7 THEN 'some Customer Complaints here' ELSE tpch_words(n, seed + 56, 6) END
	FROM tpch_size, generate_series(1, suppliers) n, LATERAL (SELECT CASE WHEN n <= 25 THEN n - 1 ELSE tpch_random(n, seed + 57, 0, 24) END AS nation) s;
INSERT INTO customer SELECT n, 'Customer#' || lpad(n::text, 9, '0'), tpch_words(n, seed + 60, 2), nation, tpch_phone(nation, n, seed + 61),
		(tpch_random(n, seed + 65, -99999, 999999) / 100.0)::numeric(15, 2),
		tpch_pick(n, seed + 66, '{AUTOMOBILE,BUILDING,FURNITURE,MACHINERY,HOUSEHOLD}'), tpch_words(n, seed + 67, 6)
	FROM tpch_size, generate_series(1, customers) n, LATERAL (SELECT tpch_random(n, seed + 68, 0, 24) AS nation) c;
INSERT INTO part SELECT n, concat_ws(' ', tpch_color(n, seed + 70), tpch_color(n, seed + 71), tpch_color(n, seed + 72), tpch_color(n, seed + 73)),
		'Manufacturer#' || maker, 'Brand#' || maker || tpch_random(n, seed + 74, 1, 5),
		tpch_pick(n, seed + 75, '{STANDARD,SMALL,MEDIUM,LARGE,ECONOMY,PROMO}') || ' ' ||
		tpch_pick(n, seed + 76, '{ANODIZED,BURNISHED,PLATED,POLISHED,BRUSHED}') || ' ' || tpch_pick(n, seed + 77, '{TIN,NICKEL,BRASS,STEEL,COPPER}'),
		tpch_random(n, seed + 78, 1, 50), tpch_pick(n, seed + 79, '{SM,LG,MED,JUMBO,WRAP}') || ' ' ||
		tpch_pick(n, seed + 80, '{CASE,BOX,BAG,JAR,PKG,PACK,CAN,DRUM}'), tpch_price(n), tpch_words(n, seed + 81, 1)
	FROM tpch_size, generate_series(1, parts) n, LATERAL (SELECT tpch_random(n, seed + 82, 1, 5) AS maker) p;
INSERT INTO partsupp SELECT n, tpch_supplier(n, i, suppliers), tpch_random(n * 4 + i, seed + 90, 1, 9999),
		(tpch_random(n * 4 + i, seed + 91, 100, 100000) / 100.0)::numeric(15, 2), tpch_words(n * 4 + i, seed + 92, 6)
	FROM tpch_size, generate_series(1, parts) n, generate_series(0, 3) i;
INSERT INTO orders SELECT o.* FROM tpch_size, tpch_orders(1, orders) o;
INSERT INTO lineitem SELECT l.* FROM tpch_size, tpch_lineitems(1, orders) l;
ANALYZE region, nation, supplier, customer, part, partsupp, orders, lineitem;
