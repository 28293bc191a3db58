/*
 * statements.c
 *	  The statements by which a part is computed and follows changes.
 *
 *	  elt_delta_n, elt_old_n, elt_was_n, elt_new_n	  states of source n
 *	  elt_both_n	what is and, with _elt_cur false, what was removed; elt_removed_n, elt_added_n: rows of the delta
 *	  elt_in		the rows of the part's blocks, i1.., or their change, with _elt_w
 *	  elt_state		groups: keys k1.., _elt_n, counters
 *	  elt_final		groups: keys k1.., results of aggregates, _elt_n, counters
 *
 * All is read under the pinned search_path, so operators of pg_catalog need no qualification. Pure functions.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "catalog/pg_type.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/sql.h"
#include "view/block.h"
#include "view/statements.h"

char *
elt_column_list(EltPart *part, const char *prefix, int n)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s%s%s", i > 0 ? ", " : "", prefix, quote_identifier(part->columns[i].name));
	return sql.data;
}

char *
elt_operator_equals(const EltColumn *column)
{
	return elt_operator_name(column->equals);
}

/*
 * States
 */

static char *
source_columns(EltSource *source, const char *prefix)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, source->names)
		if (strVal(lfirst(lc))[0] != '\0')
		appendStringInfo(&sql, "%s%s%s", sql.len > 0 ? ", " : "", prefix, quote_identifier(strVal(lfirst(lc))));
	return sql.data;
}

static char *
source_now(EltPlaces *places, EltSource *source)
{
	if (source->part == NULL)
		return elt_qualified_name(source->relid);
	return psprintf("elt_new_%d", source->number);
}

/* d and n have the same key. */
static char *
source_match(EltSource *source)
{
	StringInfoData sql;
	StringInfoData left;
	StringInfoData right;
	ListCell   *lc;

	initStringInfo(&sql);
	initStringInfo(&left);
	initStringInfo(&right);
	foreach(lc, source->key)
	{
		const char *name = quote_identifier(strVal(list_nth(source->names, lfirst_int(lc) - 1)));
		const char *separator = sql.len > 0 ? " AND " : "";

		if (source->part == NULL)
		{
			Oid			type;
			int32		typmod;
			Oid			collation;
			Oid			equals;

			elt_source_column(source, lfirst_int(lc), &type, &typmod, &collation, &equals);
			appendStringInfo(&sql, "%sd.%s %s n.%s", separator, name, elt_operator_name(equals), name);
		}
		else if (source->part->columns[lfirst_int(lc) - 1].notnull)
			appendStringInfo(&sql, "%sd.%s %s n.%s", separator, name,
							 elt_operator_equals(&source->part->columns[lfirst_int(lc) - 1]), name);
		else
		{
			/* IS NOT DISTINCT FROM would look for an operator in search_path */
			appendStringInfo(&sql, "%s(d.%s %s n.%s OR (d.%s IS NOT DISTINCT FROM NULL AND n.%s IS NOT DISTINCT FROM NULL))", separator, name,
							 elt_operator_equals(&source->part->columns[lfirst_int(lc) - 1]), name, name, name);
			appendStringInfo(&left, "%sd.%s", left.len > 0 ? ", " : "", name);
			appendStringInfo(&right, "%sn.%s", right.len > 0 ? ", " : "", name);
		}
	}
	if (sql.len == 0)
		return pstrdup("true");
	/* something that can be hashed */
	if (left.len > 0)
		appendStringInfo(&sql, " AND hash_record_extended(ROW(%s), 0) = hash_record_extended(ROW(%s), 0)", left.data, right.data);
	return sql.data;
}

static char *
define_was(EltPlaces *places, EltSource *source)
{
	char	   *columns = source_columns(source, "");
	char	   *of_n = source_columns(source, "n.");
	char	   *of_d = source_columns(source, "d.");
	int			n = source->number;

	/* of one row all there is to tell is whether it changed */
	if (source->key != NIL || (source->part != NULL && source->part->global))
		return psprintf("SELECT %s FROM %s n WHERE NOT EXISTS (SELECT FROM elt_delta_%d d WHERE d._elt_w > 0 AND %s) "
						"UNION ALL SELECT %s FROM elt_delta_%d d WHERE d._elt_w < 0",
						of_n, source_now(places, source), n, source_match(source), of_d, n);
	/* rows beyond those that were added, by image */
	return psprintf("SELECT %s FROM (SELECT %s, d._elt_w, row_number() OVER (PARTITION BY d._elt_i) AS _elt_r FROM %s n LEFT JOIN "
					"(SELECT *, row_number() OVER () AS _elt_i FROM elt_delta_%d WHERE _elt_w > 0) d "
					"ON elt.row_hash(ROW(%s)) = elt.row_hash(ROW(%s)) AND record_image_eq(ROW(%s), ROW(%s))) x WHERE _elt_w IS NULL OR _elt_r > _elt_w "
					"UNION ALL SELECT %s FROM elt_delta_%d d, generate_series(1, - d._elt_w) WHERE d._elt_w < 0",
					columns, of_n, source_now(places, source), n, of_n, of_d, of_n, of_d, of_d, n);
}

static char *
define_state(EltPlaces *places, EltSource *source, const char *state)
{
	char	   *columns = source_columns(source, "");

	if (strcmp(state, "new") == 0)
		return elt_output_sql(source->part, places->storages[source->part->number]);
	if (strcmp(state, "old") == 0)
		return psprintf("SELECT %s, 1::bigint AS _elt_w FROM %s UNION ALL SELECT %s, - _elt_w FROM elt_delta_%d",
						columns, source_now(places, source), columns, source->number);
	if (strcmp(state, "both") == 0)
		return psprintf("SELECT %s, true AS _elt_cur FROM %s UNION ALL SELECT %s, false FROM elt_removed_%d",
						columns, source_now(places, source), columns, source->number);
	return define_was(places, source);
}

bool
elt_mentions(const char *sql, const char *name)
{
	int			len = strlen(name);

	for (const char *at = strstr(sql, name); at != NULL; at = strstr(at + 1, name))
		if (at[len] < '0' || at[len] > '9')
			return true;
	return false;
}

/* WITH what `ctes` and `body` mention of states, then ctes (which may be empty), then body. */
static char *
with_states(EltPlaces *places, const char *ctes, const char *body)
{
	static const char *const states[] = {"new", "old", "was", "both"};
	char	   *all = psprintf("%s %s", ctes, body);
	char	   *others = pstrdup("");
	StringInfoData sql;

	initStringInfo(&sql);
	/* the others read new */
	for (int s = lengthof(states) - 1; s >= 0; s--)
	{
		ListCell   *lc;

		foreach(lc, places->shape->sources)
		{
			EltSource  *source = lfirst(lc);
			char	   *name = psprintf("elt_%s_%d", states[s], source->number);
			char	   *definition;

			if ((s == 0 && source->part == NULL) || !(elt_mentions(all, name) || elt_mentions(others, name)))
				continue;

			/*
			 * a user's text or name may look like ours: there is no delta of
			 * which it could be made
			 */
			if (s > 0 && source->nchanges <= 0)
				continue;
			definition = psprintf("%s AS NOT MATERIALIZED (%s)", name, define_state(places, source, states[s]));
			others = psprintf("%s%s%s", definition, others[0] != '\0' ? ", " : "", others);
		}
	}
	if (others[0] != '\0' || ctes[0] != '\0')
		appendStringInfo(&sql, "WITH %s%s%s ", others, others[0] != '\0' && ctes[0] != '\0' ? ", " : "", ctes);
	appendStringInfoString(&sql, body);
	return sql.data;
}

/*
 * Input
 */

static char *
input_names(EltPart *part, bool weighted)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < part->ninput; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(part->input[i].name));
	if (weighted)
		appendStringInfo(&sql, "%s_elt_w", part->ninput > 0 ? ", " : "");
	return sql.data;
}

static char *
unite(List *queries)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	foreach(lc, queries)
		appendStringInfo(&sql, "%s%s", sql.len > 0 ? " UNION ALL " : "", elt_query_text(lfirst(lc)));
	return sql.data;
}

static char *
delta_of_blocks(EltPlaces *places, EltPart *part, Bitmapset *changed, bool moved, TimestampTz then)
{
	List	   *terms = NIL;
	ListCell   *lc;

	foreach(lc, part->blocks)
		terms = list_concat(terms, elt_block_delta(places->shape, lfirst_node(Query, lc), changed, moved, then));
	return terms == NIL ? NULL : unite(terms);
}

char *
elt_input_delta_sql(EltPlaces *places, EltPart *part, Bitmapset *changed, bool moved, TimestampTz then)
{
	char	   *terms = delta_of_blocks(places, part, changed, moved, then);

	if (terms == NULL)
		return NULL;
	return with_states(places, psprintf("elt_in(%s) AS NOT MATERIALIZED (%s)", input_names(part, true), terms),
					   psprintf("SELECT %s FROM elt_in", input_names(part, true)));
}

/* The condition that a column has the i-th key of k, a bag with columns k1...; a composite value of NULLs is not NULL. */
static void
append_key_match(StringInfo sql, const char *column, const EltColumn *key, int i, EltNulls nulls)
{
	const char *and = i > 0 ? " AND " : "";

	if (i >= ELT_NULLS_KEYS)
		appendStringInfo(sql, "%s(%s %s k.k%d OR (%s IS NOT DISTINCT FROM NULL AND k.k%d IS NOT DISTINCT FROM NULL))",
						 and, column, elt_operator_equals(key), i + 1, column, i + 1);
	else if (nulls & (UINT64CONST(1) << i))
		appendStringInfo(sql, "%s%s IS NOT DISTINCT FROM NULL", and, column);
	else
		appendStringInfo(sql, "%s%s %s k.k%d", and, column, elt_operator_equals(key), i + 1);
}

/* The condition that t, a storage, has the keys of k, a bag with columns k1... */
static char *
key_match(EltPart *part, EltNulls nulls)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < part->nkeys; i++)
	{
		EltColumn  *column = &part->columns[part->key_columns[i]];

		append_key_match(&sql, psprintf("t.%s", quote_identifier(column->name)), column, i, nulls);
	}
	return sql.len == 0 ? pstrdup("true") : sql.data;
}

/* The present rows of the blocks, all or those of some keys. */
static char *
define_input(EltPlaces *places, EltPart *part, const char *keys, EltNulls nulls)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "elt_in%s%s%s AS NOT MATERIALIZED (", part->ninput > 0 ? "(" : "", input_names(part, false), part->ninput > 0 ? ")" : "");
	foreach(lc, part->blocks)
	{
		char	   *block = elt_query_text(elt_block_now(places->shape, lfirst_node(Query, lc)));

		if (lc != list_head(part->blocks))
			appendStringInfoString(&sql, " UNION ALL ");
		if (keys == NULL)
		{
			appendStringInfoString(&sql, block);
			continue;
		}
		appendStringInfo(&sql, "SELECT b.* FROM %s k, (%s) b(%s) WHERE ", keys, block, input_names(part, false));
		for (int i = 0; i < part->nkeys; i++)
			append_key_match(&sql, psprintf("b.%s", quote_identifier(part->input[i].name)), &part->input[i], i, nulls);
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * Groups
 */

static void
append_keys(StringInfo sql, EltPart *part, const char *prefix)
{
	for (int i = 0; i < part->nkeys; i++)
		appendStringInfo(sql, "%s%s%d", i > 0 ? ", " : "", prefix, i + 1);
}

/* elt_final over elt_state. */
static char *
define_final(EltPart *part, const char *where, const char *more)
{
	StringInfoData sql;
	int			n = part->nkeys;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "elt_final AS (SELECT ");
	append_keys(&sql, part, "k");
	foreach(lc, part->finals)
	{
		n++;
		appendStringInfo(&sql, "%s%s AS a%d", n > 1 ? ", " : "", strVal(lfirst(lc)), n);
	}
	appendStringInfo(&sql, "%s_elt_n", n > 0 ? ", " : "");
	foreach(lc, part->counters)
		appendStringInfo(&sql, ", %s", ((EltCounter *) lfirst(lc))->name);
	appendStringInfo(&sql, "%s FROM elt_state%s)", more, where);
	return sql.data;
}

/* elt_state from all rows of elt_in. */
static char *
define_state_anew(EltPart *part)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "elt_state AS (SELECT ");
	for (int i = 0; i < part->nkeys; i++)
		appendStringInfo(&sql, "i%d AS k%d, ", i + 1, i + 1);
	appendStringInfoString(&sql, "count(*) AS _elt_n");
	foreach(lc, part->counters)
		appendStringInfo(&sql, ", %s AS %s", ((EltCounter *) lfirst(lc))->init, ((EltCounter *) lfirst(lc))->name);
	appendStringInfoString(&sql, " FROM elt_in");
	if (part->nkeys > 0)
	{
		appendStringInfoString(&sql, " GROUP BY ");
		append_keys(&sql, part, "i");
	}
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

char *
elt_rows_sql(EltPlaces *places, EltPart *part, const char *keys, EltNulls nulls)
{
	char	   *input;

	if (part->method == ELT_FULL)
		return with_states(places, "", elt_query_text(elt_block_now(places->shape, part->query)));
	input = define_input(places, part, keys, nulls);
	if (part->kind == ELT_PART_TOP)
		return with_states(places, input, psprintf("SELECT %s FROM elt_in AS elt_u ORDER BY %s FETCH FIRST " INT64_FORMAT " ROWS WITH TIES",
												   input_names(part, false), part->order, elt_rows_to_store(part)));
	if (part->kind == ELT_PART_ROWS)
		return with_states(places, input, psprintf("SELECT %s FROM elt_in", input_names(part, false)));
	if (part->kind == ELT_PART_WINDOW)
		return with_states(places, input, elt_query_text(part->output));
	if (part->method == ELT_COUNTERS)
		input = psprintf("%s, %s, %s", input, define_state_anew(part), define_final(part, "", ""));
	else
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int i = 0; i < list_length(part->aggregate->targetList); i++)
			appendStringInfo(&names, "%s%s%d", i > 0 ? ", " : "", i < part->nkeys ? "k" : "a", i + 1);
		input = psprintf("%s, elt_final%s%s%s AS (%s)", input, names.len > 0 ? "(" : "", names.data, names.len > 0 ? ")" : "",
						 elt_query_text(part->aggregate));
	}
	return with_states(places, input, elt_query_text(part->output));
}

/* Groups of `from`, a bag or CTE with the input's columns and _elt_w. */
static char *
add_up(EltPart *part, const char *from)
{
	StringInfoData sql;
	int			i = 0;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int k = 0; k < part->nkeys; k++)
		appendStringInfo(&sql, "i%d AS k%d, ", k + 1, k + 1);
	appendStringInfoString(&sql, "elt.weights(_elt_w) AS _elt_n");
	foreach(lc, part->counters)
	{
		EltCounter *counter = lfirst(lc);

		i++;
		appendStringInfo(&sql, ", %s AS d%d", counter->delta, i);
		if (counter->extreme != NULL)
			appendStringInfo(&sql, ", %s AS r%d", counter->extreme, i);
	}
	appendStringInfo(&sql, " FROM %s", from);
	if (part->nkeys > 0)
	{
		appendStringInfoString(&sql, " GROUP BY ");
		append_keys(&sql, part, "i");
	}
	return sql.data;
}

char *
elt_group_netted_sql(EltPart *part)
{
	return add_up(part, "elt_rows");
}

char *
elt_group_delta_sql(EltPlaces *places, EltPart *part, Bitmapset *changed, bool moved, TimestampTz then)
{
	char	   *terms = delta_of_blocks(places, part, changed, moved, then);

	if (terms == NULL)
		return NULL;
	return with_states(places, psprintf("elt_in(%s) AS NOT MATERIALIZED (%s)", input_names(part, true), terms), add_up(part, "elt_in"));
}

bool
elt_has_extremes(EltPart *part)
{
	ListCell   *lc;

	foreach(lc, part->counters)
		if (((EltCounter *) lfirst(lc))->extreme != NULL)
		return true;
	return false;
}

/* elt_state: stored groups with the bag elt_d added. */
static char *
define_state_merged(EltPlaces *places, EltPart *part, EltNulls nulls, bool changed_only)
{
	StringInfoData sql;
	StringInfoData dirty;
	StringInfoData changed;
	int			i = 0;
	ListCell   *lc;

	initStringInfo(&sql);
	initStringInfo(&dirty);
	initStringInfo(&changed);
	appendStringInfoString(&sql, "elt_state AS (SELECT ");
	for (int k = 0; k < part->nkeys; k++)
		appendStringInfo(&sql, "k.k%d, ", k + 1);
	appendStringInfoString(&sql, "COALESCE(t._elt_n, 0) + k._elt_n AS _elt_n");
	foreach(lc, part->counters)
	{
		EltCounter *c = lfirst(lc);

		i++;
		if (c->extreme == NULL)
		{
			appendStringInfo(&sql, ", COALESCE(t.%s, %s) + k.d%d AS %s", c->name, c->zero, i, c->name);
			appendStringInfo(&changed, " OR k.d%d <> 0", i);
			continue;
		}
		appendStringInfo(&changed, " OR k.d%d IS NOT NULL AND (t.%s IS NULL OR k.d%d %s t.%s) OR k.r%d IS NOT NULL AND NOT (t.%s %s k.r%d)",
						 i, c->name, i, c->beyond, c->name, i, c->name, c->beyond, i);

		/*
		 * what was added is at least as extreme; else it is gone if what was
		 * removed is
		 */
		appendStringInfo(&sql, ", CASE WHEN t.%s IS NULL THEN k.d%d WHEN k.d%d IS NOT NULL AND NOT (t.%s %s k.d%d) THEN k.d%d ELSE t.%s END AS %s",
						 c->name, i, i, c->name, c->beyond, i, i, c->name, c->name);
		appendStringInfo(&dirty, "%s(t.%s IS NOT NULL AND k.r%d IS NOT NULL AND NOT (t.%s %s k.r%d) AND (k.d%d IS NULL OR t.%s %s k.d%d))",
						 dirty.len > 0 ? " OR " : "", c->name, i, c->name, c->beyond, i, i, c->name, c->beyond, i);
	}
	/* groups that nothing was added to or taken from stay as they are */
	appendStringInfo(&sql, ", COALESCE(%s, false) AS _elt_dirty, t.ctid AS _elt_tid FROM elt_d k LEFT JOIN %s t ON %s%s)",
					 dirty.len > 0 ? dirty.data : "false", places->storages[part->number], key_match(part, nulls),
					 changed_only ? psprintf(" WHERE k._elt_n <> 0%s", changed.data) : "");
	return sql.data;
}

char *
elt_merged_rows_sql(EltPlaces *places, EltPart *part, EltNulls nulls)
{
	char	   *where = part->global ? " WHERE NOT _elt_dirty" : " WHERE NOT _elt_dirty AND _elt_n <> 0";

	return with_states(places, psprintf("%s, %s", define_state_merged(places, part, nulls, false), define_final(part, where, "")),
					   elt_query_text(part->output));
}

/* The output with one more column of elt_final: where the row is stored, or NULL. */
static char *
output_with_tid(EltPart *part)
{
	Query	   *query = copyObject(part->output);
	RangeTblEntry *rte = linitial_node(RangeTblEntry, query->rtable);

	rte->eref->colnames = lappend(rte->eref->colnames, makeString(pstrdup("_elt_tid")));
	query->targetList = lappend(query->targetList,
								makeTargetEntry((Expr *) makeVar(1, list_length(rte->eref->colnames), TIDOID, -1, InvalidOid, 0),
												list_length(query->targetList) + 1, pstrdup("_elt_tid"), false));
	return elt_query_text(query);
}

char *
elt_merge_sql(EltPlaces *places, EltPart *part, EltNulls nulls)
{
	StringInfoData sql;
	char	   *final = define_final(part, part->global ? " WHERE NOT _elt_dirty" : " WHERE NOT _elt_dirty OR _elt_n = 0", ", _elt_tid");

	initStringInfo(&sql);
	appendStringInfo(&sql, "MERGE INTO %s AS t USING (%s) AS s(%s, _elt_tid) ON t.ctid = s._elt_tid", places->storages[part->number],
					 with_states(places, psprintf("%s, %s", define_state_merged(places, part, nulls, true), final), output_with_tid(part)),
					 elt_column_list(part, "", part->ncolumns));
	if (!part->global)
		appendStringInfoString(&sql, " WHEN MATCHED AND s._elt_n = 0 THEN DELETE");
	appendStringInfoString(&sql, " WHEN MATCHED THEN UPDATE SET ");
	for (int i = 0; i < part->ncolumns; i++)
	{
		const char *name = quote_identifier(part->columns[i].name);

		appendStringInfo(&sql, "%s%s = s.%s", i > 0 ? ", " : "", name, name);
	}
	appendStringInfo(&sql, " WHEN NOT MATCHED%s THEN INSERT (%s) VALUES (%s)", part->global ? "" : " AND s._elt_n <> 0",
					 elt_column_list(part, "", part->ncolumns), elt_column_list(part, "s.", part->ncolumns));
	return sql.data;
}

char *
elt_dirty_keys_sql(EltPlaces *places, EltPart *part, EltNulls nulls)
{
	StringInfoData sql;

	if (!elt_has_extremes(part))
		return NULL;
	initStringInfo(&sql);
	appendStringInfo(&sql, "WITH %s SELECT ", define_state_merged(places, part, nulls, false));
	append_keys(&sql, part, "k");
	appendStringInfo(&sql, " FROM elt_state WHERE _elt_dirty%s", part->global ? "" : " AND _elt_n <> 0");
	return sql.data;
}

/*
 * Stored rows
 */

static char *
stored(EltPlaces *places, EltPart *part)
{
	bool		last = part->number == list_length(places->shape->parts);

	return psprintf("SELECT %s, ctid AS _elt_tid, %s AS _elt_frozen FROM %s",
					elt_column_list(part, "", part->ncolumns),
					last && places->frozen != NULL ? psprintf("COALESCE((%s)%s, false)", places->frozen, part->shown >= 0 ? " AND _elt_shown" : "") : "false",
					places->storages[part->number]);
}

char *
elt_stored_sql(EltPlaces *places, EltPart *part, const char *keys, EltNulls nulls)
{
	if (keys == NULL)
		return stored(places, part);
	return psprintf("SELECT %s, t._elt_tid, t._elt_frozen FROM %s k JOIN (%s) t ON %s", elt_column_list(part, "t.", part->ncolumns),
					keys, stored(places, part), key_match(part, nulls));
}

char *
elt_stored_by_hash_sql(EltPlaces *places, EltPart *part)
{
	StringInfoData row;

	initStringInfo(&row);
	for (int i = 0; i < part->ncolumns; i++)
		appendStringInfo(&row, "%s%s", i > 0 ? ", " : "", quote_identifier(part->columns[i].name));
	return psprintf("SELECT %s, t._elt_tid, t._elt_frozen FROM (SELECT DISTINCT elt.row_hash(ROW(%s)) AS h FROM elt_rows WHERE _elt_w < 0) k "
					"JOIN (SELECT _elt_h, %s) t ON t._elt_h = k.h",
					elt_column_list(part, "t.", part->ncolumns), row.data, stored(places, part) + strlen("SELECT "));
}

char *
elt_keys_sql(EltPart *part, const char *bag, bool of_storage)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT DISTINCT ");
	for (int i = 0; i < part->nkeys; i++)
		appendStringInfo(&sql, "%s%s AS k%d", i > 0 ? ", " : "",
						 quote_identifier(of_storage ? part->columns[part->key_columns[i]].name : part->input[i].name), i + 1);
	appendStringInfo(&sql, " FROM %s", bag);
	return sql.data;
}

/*
 * ORDER BY ... LIMIT
 */

/* Twice what is shown, and some: so many rows can go before all has to be looked at again. */
int64
elt_rows_to_store(EltPart *part)
{
	return 2 * (part->skip + part->limit) + 20;
}

char *
elt_output_sql(EltPart *part, const char *storage)
{
	if (part->kind == ELT_PART_TOP)
		return psprintf("SELECT %s FROM %s AS elt_u ORDER BY %s OFFSET " INT64_FORMAT " FETCH FIRST " INT64_FORMAT " ROWS %s",
						elt_column_list(part, "", part->noutput), storage, part->order, part->skip, part->limit,
						part->with_ties ? "WITH TIES" : "ONLY");
	return psprintf("SELECT %s FROM %s%s", elt_column_list(part, "", part->noutput), storage, part->shown >= 0 ? " WHERE _elt_shown" : "");
}

char *
elt_within_stored_sql(EltPlaces *places, EltPart *part)
{
	char	   *columns = elt_column_list(part, "", part->ncolumns);

	return psprintf("WITH _elt_r AS (SELECT %s, _elt_w, _elt_last, rank() OVER (ORDER BY %s) AS _elt_rank FROM ("
					"SELECT %s, _elt_w, false AS _elt_last FROM elt_rows UNION ALL "
					"SELECT %s, 0, true FROM (SELECT %s, row_number() OVER (ORDER BY %s) AS _elt_n, count(*) OVER () AS _elt_c FROM %s AS elt_u) s WHERE _elt_n = _elt_c"
					") AS elt_u) SELECT %s, _elt_w FROM _elt_r WHERE NOT _elt_last AND _elt_rank <= (SELECT _elt_rank FROM _elt_r WHERE _elt_last)",
					columns, part->order, columns, columns, columns, part->order, places->storages[part->number], columns);
}

char *
elt_trim_stored_sql(EltPlaces *places, EltPart *part)
{
	return psprintf("DELETE FROM %s WHERE ctid IN (SELECT _elt_tid FROM (SELECT ctid AS _elt_tid, rank() OVER (ORDER BY %s) AS _elt_rank FROM %s AS elt_u) s "
					"WHERE _elt_rank > " INT64_FORMAT ")",
					places->storages[part->number], part->order, places->storages[part->number], elt_rows_to_store(part));
}
