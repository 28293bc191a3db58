-- A mixed workload: functions that each change `rows` rows or some more. Steps are counted from 1; the same steps make the same changes.

-- New orders with their line items (refresh function 1).
CREATE FUNCTION tpch_insert_orders(step int, rows int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	first bigint := (SELECT orders FROM tpch_size) + (step - 1)::bigint * rows + 1;
BEGIN
	INSERT INTO orders SELECT * FROM tpch_orders(first, first + rows - 1);
	INSERT INTO lineitem SELECT * FROM tpch_lineitems(first, first + rows - 1);
END $$;

-- The oldest ones go (refresh function 2).
CREATE FUNCTION tpch_delete_orders(step int, rows int) RETURNS void LANGUAGE sql AS $$
	DELETE FROM lineitem WHERE l_orderkey BETWEEN (step - 1)::bigint * rows + 1 AND step::bigint * rows;
	DELETE FROM orders WHERE o_orderkey BETWEEN (step - 1)::bigint * rows + 1 AND step::bigint * rows $$;

-- Line items are returned, corrected and get other parts; orders go to other customers.
CREATE FUNCTION tpch_update_orders(step int, rows int) RETURNS void LANGUAGE sql AS $$
	UPDATE lineitem SET l_returnflag = CASE l_returnflag WHEN 'N' THEN 'R' ELSE 'N' END, l_quantity = l_quantity % 50 + 1,
		l_discount = (l_discount * 100 + 1) % 11 / 100
		FROM tpch_size, generate_series(1, rows) n WHERE l_orderkey = tpch_random(n, seed + 1000 + step, 1, orders::int) AND l_linenumber = 1;
	UPDATE lineitem SET l_partkey = ps_partkey, l_suppkey = ps_suppkey, l_receiptdate = l_receiptdate + 1
		FROM tpch_size, generate_series(1, rows) n, partsupp
		WHERE l_orderkey = tpch_random(n, seed + 2000 + step, 1, orders::int) AND l_linenumber = 2
		AND ps_partkey = tpch_random(n, seed + 3000 + step, 1, parts) AND ps_suppkey = tpch_supplier(ps_partkey, n % 4, suppliers);
	UPDATE orders SET o_custkey = tpch_random(o_orderkey, seed + 4000 + step, 1, customers), o_orderpriority = '1-URGENT'
		FROM tpch_size, generate_series(1, rows) n WHERE o_orderkey = tpch_random(n, seed + 5000 + step, 1, orders::int) $$;

-- Dimensions: customers, suppliers, parts and what they cost.
CREATE FUNCTION tpch_update_dimensions(step int, rows int) RETURNS void LANGUAGE sql AS $$
	UPDATE customer SET c_acctbal = -c_acctbal, c_mktsegment = tpch_pick(c_custkey, seed + step, '{AUTOMOBILE,BUILDING,FURNITURE,MACHINERY,HOUSEHOLD}')
		FROM tpch_size, generate_series(1, rows) n WHERE c_custkey = tpch_random(n, seed + 6000 + step, 1, customers);
	UPDATE supplier SET s_nationkey = (s_nationkey + step) % 25, s_acctbal = s_acctbal + step
		FROM tpch_size, generate_series(1, 1 + rows / 10) n WHERE s_suppkey = tpch_random(n, seed + 7000 + step, 26, suppliers);
	UPDATE part SET p_size = p_size % 50 + 1, p_type = tpch_pick(p_partkey, seed + step, ARRAY['ECONOMY ANODIZED STEEL', 'PROMO PLATED BRASS', p_type])
		FROM tpch_size, generate_series(1, rows) n WHERE p_partkey = tpch_random(n, seed + 8000 + step, 1, parts);
	UPDATE partsupp SET ps_supplycost = ps_supplycost + 0.01 * step, ps_availqty = 9999 - ps_availqty
		FROM tpch_size, generate_series(1, rows) n WHERE ps_partkey = tpch_random(n, seed + 9000 + step, 1, parts) $$;

-- Two nations exchange their names: a small change with much to follow.
CREATE FUNCTION tpch_swap_nations(step int) RETURNS void LANGUAGE sql AS $$
	UPDATE nation a SET n_name = b.n_name FROM nation b
		WHERE (a.n_nationkey, b.n_nationkey) IN ((step % 25, (step * 7 + 1) % 25), ((step * 7 + 1) % 25, step % 25)) $$;

-- One transaction's worth of everything.
CREATE FUNCTION tpch_step(step int, rows int) RETURNS void LANGUAGE sql AS $$
	SELECT tpch_insert_orders(step, rows);
	SELECT tpch_update_orders(step, rows);
	SELECT tpch_update_dimensions(step, rows);
	SELECT tpch_swap_nations(step);
	SELECT tpch_delete_orders(step, rows) $$;
