/*
 * fuzz.h: what the fuzz targets share.
 *
 * A target is LLVMFuzzerTestOneInput(): it must get through any input without
 * a crash, a leak or a wait, and checks by must() what the headers promise. With
 * libFuzzer it is a fuzzer; with replay.c, a test that reads its seeds in
 * corpus/NAME.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <popferry/err.h>
#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, so that the fuzzer keeps the input. */
#define must(promise) ((promise) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #promise))
void fuzz_broken(const char *file, int line, const char *promise)
	__attribute__((noreturn));

/* Bytes of the input not yet used. */
struct input {
	const char *p;
	size_t n;
};

/* The next byte; 0 when there is none. */
unsigned input_byte(struct input *in);
/* What stands before the next INPUT_MARK, which goes too; else all of it. */
enum { INPUT_MARK = 0x1e };
struct input input_part(struct input *in);
/* The rest as a text that ends at a NUL. Owned by the caller. */
char *input_text(const struct input *in);

/* A directory for this process, removed when it exits. */
const char *scratch(void);
int scratch_fd(void);
/* Replaces scratch()/name. */
void scratch_put(const char *name, const void *p, size_t n);

/* One of UTF-8's characters in its shortest form at p? Its length, or 0. */
size_t utf8_at(const char *p, size_t n);
/* Valid UTF-8 without control characters: fit for a terminal. */
bool is_clean(const char *p, size_t n);
/* A failure tells why in clean text, and leaves an exit code. */
void must_tell(enum status rc, const struct err *err);

/*
 * A peer for conn_over(). Its first byte says how many bytes move at a time
 * (the low 6 bits; 0: any number) and whether it is silent at its end (bit 6)
 * or closes. The rest is what it says; at an INPUT_MARK it waits until the
 * client has sent something or waits too.
 */
struct feed {
	struct input in;
	size_t step;
	bool silent, heard;
	uint64_t got; /* bytes from the client */
};
void feed_open(struct feed *f, struct input *in);
struct transport feed_transport(struct feed *f);

#endif
