/* words.c: a command line into words, as a shell would, and no more than that. */
#include "own.h"

#include <string.h>

/* One word of p into out (room for all of p). NULL when a quote stays open. */
static const char *one_word(const char *p, char *out)
{
	char quote = 0;

	for (; *p && (quote || !strchr(" \t", *p)); p++) {
		if (quote ? *p == quote : (*p == '\'' || *p == '"')) {
			quote = quote ? 0 : *p;
			continue;
		}
		if (*p == '\\' && quote != '\'') {
			if (!p[1])
				return NULL;
			if (!quote || p[1] == '"' || p[1] == '\\')
				p++;
		}
		*out++ = *p;
	}
	*out = '\0';
	return quote ? NULL : p;
}

size_t hand_split(const char *command, char *words, char *argv[HAND_WORDS_MAX + 1])
{
	size_t n = 0;

	for (;;) {
		command += strspn(command, " \t");
		if (!*command)
			break;
		if (n == HAND_WORDS_MAX)
			return 0;
		argv[n++] = words;
		command = one_word(command, words);
		if (!command)
			return 0;
		words += strlen(words) + 1;
	}
	argv[n] = NULL;
	return n;
}
