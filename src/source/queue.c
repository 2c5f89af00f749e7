/* queue.c: numbers in the order of their coming, in as much room as are waiting. */
#include "queue.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

void queue_clear(struct queue *q)
{
	q->at = q->n = 0;
}

void queue_free(struct queue *q)
{
	free(q->v);
	*q = (struct queue){ 0 };
}

void queue_add(struct queue *q, uint32_t number)
{
	if (q->at == q->n)
		queue_clear(q);
	if (q->n == q->cap && q->at > q->n / 2) {
		q->n -= q->at;
		memmove(q->v, q->v + q->at, q->n * sizeof(*q->v));
		q->at = 0;
	}
	if (q->n == q->cap) {
		q->cap += q->cap / 2 + 1024;
		q->v = xreallocarray(q->v, q->cap, sizeof(*q->v));
	}
	q->v[q->n++] = number;
}

bool queue_take(struct queue *q, uint32_t *number)
{
	if (q->at == q->n)
		return false;
	*number = q->v[q->at++];
	return true;
}
