/* Work that may fail and be undone. */
#ifndef ELT_ATTEMPT_H
#define ELT_ATTEMPT_H

typedef void (*EltWork) (void *arg);
typedef bool (*EltExpected) (int sqlerrcode);

/*
 * Do the work in a subtransaction and a memory context of its own, which is gone afterwards; false where it failed with an error that was expected, which is then in *error,
 * in the current memory context. Other errors are raised.
 */
extern bool elt_attempt(EltWork work, void *arg, EltExpected expected, ErrorData **error);

/* Does this error say that a row is bad, rather than the work or the server? */
extern bool elt_is_row_error(int sqlerrcode);

#endif
