/* SQL commands as tasks. */
#ifndef ELT_COMMANDS_H
#define ELT_COMMANDS_H

/* When the library is loaded. */
extern void elt_commands_init(void);

#endif
