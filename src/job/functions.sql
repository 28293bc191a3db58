-- Running nodes of any kind.

CREATE PROCEDURE elt.run(name text, upstream boolean DEFAULT false, downstream boolean DEFAULT false)
    LANGUAGE c AS 'MODULE_PATHNAME', 'elt_sql_run_node';
COMMENT ON PROCEDURE elt.run(text, boolean, boolean) IS
'Runs a load until it has caught up with what was committed before the call, with a transaction for each batch; or a transform, in transactions of its own. Errors: 2D000 in a '
'transaction block; those of elt.run_batch; for a transform those of its query, and 42501, 42P01, 53400 for too many rejected rows, 55000, 55P03.';
