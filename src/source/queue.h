/* queue.h: the numbers of messages that are wanted, in their order. */
#ifndef SOURCE_QUEUE_H
#define SOURCE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero is an empty one. */
struct queue {
	uint32_t *v;
	size_t n, cap, at;
};

void queue_add(struct queue *q, uint32_t number);
/* False when it is empty. */
bool queue_take(struct queue *q, uint32_t *number);
void queue_clear(struct queue *q); /* keeps the memory */
void queue_free(struct queue *q);

#endif
