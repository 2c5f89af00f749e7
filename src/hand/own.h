/* own.h: what the files of this folder share. */
#ifndef HAND_OWN_H
#define HAND_OWN_H

#include <popferry/hand.h>

struct hand {
	const char *what;
	char *words; /* argv points into it */
	char *argv[HAND_WORDS_MAX + 1];
	char *path;   /* of the program */
	char **envp;  /* what all runs have; ends with NULL */
	size_t n_env; /* of these */
	int ms;
};

#endif
