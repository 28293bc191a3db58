/*
 * trigger.c
 *	  The statement triggers that write the change log.
 *
 *	  INSERT, UPDATE, DELETE, TRUNCATE on a root, an intermediate or a leaf
 *	    -> transition tables -> images (image.c) -> open segment (log.c)
 *
 * Each change is logged once: a statement fires the triggers of the relation that it names. Rows of a leaf are mapped to the root's columns by name.
 * Nothing here runs SQL, calls user code or needs a privilege.
 *
 * Locks: RowExclusive on the open segment to the end of the transaction (target.c). A crash loses the log rows of exactly the transactions that it loses.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/debug_point.h"
#include "capture/log.h"
#include "capture/mark.h"
#include "capture/target.h"
#include "capture/tree.h"

PG_FUNCTION_INFO_V1(elt_sql_capture);
PG_FUNCTION_INFO_V1(elt_sql_capture_moves);
PG_FUNCTION_INFO_V1(elt_sql_capture_generated);

/* One transition table being read, in the root's column order. */
typedef struct RowReader
{
	Tuplestorestate *store;		/* NULL: none */
	TupleTableSlot *slot;		/* as the table has it */
	TupleTableSlot *mapped;		/* as the root has it; the same where no map
								 * is needed */
	AttrMap    *map;
} RowReader;

static void
reader_start(RowReader *reader, Tuplestorestate *store, EltTarget *target)
{
	reader->store = store;
	reader->map = target->map;
	if (store == NULL)
		return;
	reader->slot = MakeSingleTupleTableSlot(target->rowdesc, &TTSOpsMinimalTuple);
	reader->mapped = reader->map == NULL ? reader->slot :
		MakeSingleTupleTableSlot(target->rootdesc, &TTSOpsVirtual);
	tuplestore_select_read_pointer(store, 0);
	tuplestore_rescan(store);
}

/* The next row, NULL at the end; valid until the next call. */
static TupleTableSlot *
reader_next(RowReader *reader)
{
	if (reader->store == NULL ||
		!tuplestore_gettupleslot(reader->store, true, false, reader->slot))
		return NULL;
	if (reader->map == NULL)
		return reader->slot;
	return execute_attr_map_slot(reader->map, reader->slot, reader->mapped);
}

static void
reader_end(RowReader *reader)
{
	if (reader->store == NULL)
		return;
	if (reader->mapped != reader->slot)
		ExecDropSingleTupleTableSlot(reader->mapped);
	ExecDropSingleTupleTableSlot(reader->slot);
}

static inline void
make_image(EltImage *image, EltTarget *target, TupleTableSlot *slot, char op)
{
	if (target->keys != NULL)
		elt_image_make_key(image, slot, target->keydesc, target->keys);
	else
		elt_image_make(image, slot, NULL, op == ELT_OP_DELETE || op == ELT_OP_OLD);
}

static void
log_rows(EltLog *log, EltTarget *target, RowReader *rows, char op, MemoryContext per_row)
{
	TupleTableSlot *slot;

	while ((slot = reader_next(rows)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(per_row);
		EltImage	image;

		CHECK_FOR_INTERRUPTS();
		make_image(&image, target, slot, op);
		elt_log_append(log, op, &image);
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_row);
	}
}

static inline bool
has_external(TupleTableSlot *slot)
{
	return TTS_IS_MINIMALTUPLE(slot) &&
		(((MinimalTupleTableSlot *) slot)->mintuple->t_infomask & HEAP_HASEXTERNAL) != 0;
}

/*
 * May the two images of an update share pointers to toasted values? Only under one key, by which the row is found again; so the key itself must not
 * be such a value.
 */
static bool
may_share(EltTarget *target, TupleTableSlot *before, TupleTableSlot *after)
{
	if (target->pk == NULL || !has_external(before) || !has_external(after))
		return false;
	for (int i = 0; i < target->rowdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(target->rowdesc, i);
		bool		null_a;
		bool		null_b;
		Datum		a;
		Datum		b;

		if (!target->pk[i])
			continue;
		a = slot_getattr(before, i + 1, &null_a);
		b = slot_getattr(after, i + 1, &null_b);
		if (null_a || null_b ||
			(att->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(a))) ||
			!datum_image_eq(a, b, att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/*
 * Is a column's value the same? A toasted one is where the new row refers to that very value: a copy of it is not, because the log may point to the old one,
 * which is gone then.
 */
static bool
same_value(Form_pg_attribute att, Datum before, Datum after)
{
	if (att->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(before)))
		return datumIsEqual(before, after, false, -1);
	return datum_image_eq(before, after, att->attbyval, att->attlen);
}

static inline bool
same_shape(MinimalTuple a, MinimalTuple b)
{
	return a->t_len == b->t_len && HeapTupleHeaderGetNatts(a) == HeapTupleHeaderGetNatts(b);
}

/*
 * Did an update leave the row as it was? The new row's values are not compressed yet, so rows of the same length and number of columns that differ have
 * different values; others may have the same ones.
 */
static bool
same_row(TupleTableSlot *before, TupleTableSlot *after)
{
	TupleDesc	desc = before->tts_tupleDescriptor;

	if (TTS_IS_MINIMALTUPLE(before) && TTS_IS_MINIMALTUPLE(after))
	{
		if (elt_image_same_bytes(before, after))
			return true;
		if (same_shape(((MinimalTupleTableSlot *) before)->mintuple, ((MinimalTupleTableSlot *) after)->mintuple))
			return false;
	}
	slot_getallattrs(before);
	slot_getallattrs(after);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (before->tts_isnull[i] != after->tts_isnull[i] ||
			(!before->tts_isnull[i] && !same_value(att, before->tts_values[i], after->tts_values[i])))
			return false;
	}
	return true;
}

/* Log one update of a row, or nothing where it changed nothing. */
static void
log_row_update(EltLog *log, EltTarget *target, TupleTableSlot *before, TupleTableSlot *after)
{
	bool		share;
	EltImage	old_image;
	EltImage	new_image;

	if (same_row(before, after))
		return;
	share = may_share(target, before, after);
	elt_image_make(&old_image, before, share ? after : NULL, true);
	elt_image_make(&new_image, after, share ? before : NULL, false);
	elt_log_append(log, ELT_OP_OLD, &old_image);
	elt_log_append(log, ELT_OP_NEW, &new_image);
}

/* The same of a log of keys: one image does where the key stays. */
static void
log_key_update(EltLog *log, EltTarget *target, TupleTableSlot *before, TupleTableSlot *after)
{
	EltImage	old_image;
	EltImage	new_image;

	if (same_row(before, after))
		return;
	elt_image_make_key(&old_image, before, target->keydesc, target->keys);
	elt_image_make_key(&new_image, after, target->keydesc, target->keys);
	if (elt_image_same(&old_image, &new_image))
	{
		elt_log_append(log, ELT_OP_UPDATE, &new_image);
		return;
	}
	elt_log_append(log, ELT_OP_OLD, &old_image);
	elt_log_append(log, ELT_OP_NEW, &new_image);
}

/*
 * The n-th old row and the n-th new row belong together, except behind a trigger that suppressed one half of a move between partitions. Nothing
 * depends on it: images that do not belong together are logged in full, and the two tables' rest is logged one by one.
 */
static void
log_updates(EltLog *log, EltTarget *target, RowReader *olds, RowReader *news,
			MemoryContext per_row)
{
	TupleTableSlot *before;
	TupleTableSlot *after = NULL;

	while ((before = reader_next(olds)) != NULL && (after = reader_next(news)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(per_row);

		CHECK_FOR_INTERRUPTS();
		if (target->keys != NULL)
			log_key_update(log, target, before, after);
		else
			log_row_update(log, target, before, after);
		MemoryContextSwitchTo(old);
		MemoryContextReset(per_row);
	}
	if (before != NULL)
	{
		EltImage	image;

		make_image(&image, target, before, ELT_OP_OLD);
		elt_log_append(log, ELT_OP_OLD, &image);
		log_rows(log, target, olds, ELT_OP_OLD, per_row);
	}
	else
		log_rows(log, target, news, ELT_OP_NEW, per_row);
}

static void
capture_rows(TriggerData *trigdata, EltTarget *target)
{
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "elt capture row",
												  ALLOCSET_DEFAULT_SIZES);
	EltLog	   *log = elt_log_open(target->segment);
	RowReader	olds;
	RowReader	news;

	reader_start(&olds, trigdata->tg_oldtable, target);
	reader_start(&news, trigdata->tg_newtable, target);
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		log_rows(log, target, &news, ELT_OP_INSERT, per_row);
	else if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		log_rows(log, target, &olds, ELT_OP_DELETE, per_row);
	else
		log_updates(log, target, &olds, &news, per_row);
	reader_end(&olds);
	reader_end(&news);
	elt_log_close(log);
	MemoryContextDelete(per_row);
}

static bool
has_rows(Tuplestorestate *store)
{
	return store != NULL && tuplestore_tuple_count(store) > 0;
}

Datum
elt_sql_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	EltTarget  *target;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigdata->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"elt.capture\" can only be called by the triggers that elt.track creates"),
				 errhint("Call elt.track on the table.")));

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		elt_mark_relation(RelationGetRelid(trigdata->tg_relation), ELT_MARK_TRUNCATE);
		return PointerGetDatum(NULL);
	}
	if (!has_rows(trigdata->tg_oldtable) && !has_rows(trigdata->tg_newtable))
		return PointerGetDatum(NULL);

	/*
	 * without a log (restored triggers, say) nothing reads it either: its
	 * consumers are stale
	 */
	target = elt_target_lock(trigdata->tg_relation);
	if (target == NULL)
		return PointerGetDatum(NULL);
	elt_debug_point("capture-locked");
	capture_rows(trigdata, target);
	return PointerGetDatum(NULL);
}

/*
 * BEFORE UPDATE on a partitioned relation.
 *
 * A MERGE that moves a row to another partition puts its images into the tables of DELETE and INSERT, yet fires the statement triggers of those
 * only where it has such actions. So they are queued here for every UPDATE; where nothing moved they find no rows, and where the MERGE fires them
 * itself its own firing takes the place of this one. Only our triggers are queued: users' triggers fire as ever.
 */
Datum
elt_sql_capture_moves(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	TransitionCaptureState *capture;
	ResultRelInfo *info;
	EState	   *estate;
	TriggerDesc *desc;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"elt.capture_moves\" can only be called by the triggers that elt.track creates"),
				 errhint("Call elt.track on the table.")));

	rel = trigdata->tg_relation;
	capture = MakeTransitionCaptureState(rel->trigdesc, RelationGetRelid(rel), CMD_MERGE);
	if (capture == NULL)
		return PointerGetDatum(NULL);
	info = makeNode(ResultRelInfo);
	InitResultRelInfo(info, rel, 1, NULL, 0);
	desc = palloc(sizeof(TriggerDesc));
	*desc = *rel->trigdesc;
	desc->triggers = palloc(sizeof(Trigger) * desc->numtriggers);
	desc->numtriggers = 0;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		if (elt_tree_is_capturing(&rel->trigdesc->triggers[i]))
			desc->triggers[desc->numtriggers++] = rel->trigdesc->triggers[i];
	}
	info->ri_TrigDesc = desc;

	estate = CreateExecutorState();
	ExecASDeleteTriggers(estate, info, capture);
	ExecASInsertTriggers(estate, info, capture);
	FreeExecutorState(estate);
	return PointerGetDatum(NULL);
}

/* BEFORE INSERT of a row of a partition: just by being there it makes the server hand the row to the others as it was stored (see tree.c). */
Datum
elt_sql_capture_generated(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"elt.capture_generated\" can only be called by the triggers that elt.track creates"),
				 errhint("Call elt.track on the table.")));
	return PointerGetDatum(trigdata->tg_trigtuple);
}
