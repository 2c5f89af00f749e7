/*
 * fault.h: places to die, for the tests that prove we survive it.
 *
 * Between any two things that become durable stands a named step. With
 * POPFERRY_CRASH_AT=n in the environment the n-th step reached by the process
 * ends it by SIGKILL (a shell shows FAULT_EXIT). With
 * POPFERRY_CRASH_LOG=FILE each step reached appends its name to FILE.
 * Without them a step costs one comparison. Thread-safe.
 */
#ifndef POPFERRY_FAULT_H
#define POPFERRY_FAULT_H

enum { FAULT_EXIT = 137 };

void fault_step(const char *name);

#endif
