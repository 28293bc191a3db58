/* Named points at which tests make a session wait. */
#ifndef ELT_DEBUG_POINT_H
#define ELT_DEBUG_POINT_H

/* Wait here while another session holds the advisory lock of this point's name. */
extern void elt_debug_point(const char *name);

#endif
