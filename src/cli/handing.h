/* handing.h: export --exec, and what is told of it. */
#ifndef CLI_HANDING_H
#define CLI_HANDING_H

#include <popferry/export.h>
#include <popferry/hand.h>

#include "cli.h"

struct handing;
/* As the options say; a program that cannot be run is told before anything is. */
enum status handing_open(struct handing **out, const struct cli *c, struct err *err);
const struct hand *handing_hand(const struct handing *h, unsigned *at_once);
/* A line of the table, and of the report. One at a time. */
void handing_answer(
	struct handing *h, const struct archive_row *row, const struct hand_answer *a);
/* Ends the report. code: what all ends with; what is to be returned comes back. */
int handing_end(
	struct handing *h, const struct export_done *done, int code, struct err *err);
void handing_close(struct handing **h);

#endif
