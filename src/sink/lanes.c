/*
 * lanes.c: several sessions with one server, which store in turn.
 *
 * A synchronising literal costs a round trip. While one session waits for "+" the next
 * announces its message, and so on: as many messages a round trip as there are
 * sessions. More are opened one by one, while there is much to store, up to what the
 * profile allows. What is lost with one of them is in doubt as if all had been lost:
 * the first session is given up, too, and a new one looks for it.
 */
#include <popferry/log.h>

#include "imap_sink.h"

enum {
	WORTH = 8, /* messages that waited, before there is another session */
	/* One that is not let in must not hold up the others for as long as the first
	 * would be waited for. */
	CONNECT_MS = 10000,
};

void lanes_init(struct imap_sink *s, const struct sink_setup *setup)
{
	unsigned most = setup->end->imap.connections;

	s->crowded = setup->crowded;
	if (s->crowded && *s->crowded) {
		most >>= *s->crowded < LANES_MAX ? *s->crowded : LANES_MAX;
		most = most > 1 ? most : 1;
		log_info(s->log, "fewer-connections", LOG_U("connections", most));
	}
	s->most_lanes = setup->cautious || setup->reading || most < 1 ? 1 : most;
	pthread_mutex_init(&s->lock, NULL);
}

/* ST_END: the run is being stopped. */
static enum status publish(struct imap_sink *s, struct imap *i)
{
	enum status rc = ST_END;

	pthread_mutex_lock(&s->lock);
	if (!s->cancelled) {
		s->lane[s->n_lanes++] = (struct lane){ .imap = i };
		rc = ST_OK;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* Where no more are let in, these will do. */
static void open_another(struct imap_sink *s)
{
	struct err why = ERR_INIT;
	struct imap *i = NULL;
	struct imap_config cfg = s->cfg;
	enum status rc;

	cfg.by_turns = true;
	cfg.inbox = false;
	if (!cfg.net.connect_ms || cfg.net.connect_ms > CONNECT_MS)
		cfg.net.connect_ms = CONNECT_MS;
	if (!cfg.greeting_ms || cfg.greeting_ms > CONNECT_MS)
		cfg.greeting_ms = CONNECT_MS;
	rc = imap_connect(&i, &cfg, &why);
	if (rc == ST_OK)
		rc = imap_login(i, &why);
	if (rc == ST_OK) {
		imap_ignore_stop(i);
		rc = publish(s, i);
	}
	if (rc == ST_OK) {
		log_debug(s->log, "connection-added", LOG_U("connections", s->n_lanes));
		return;
	}
	if (rc != ST_END)
		log_info(s->log, "no-more-connections",
			LOG_U("connections", s->n_lanes), LOG_S("reason", why.text));
	s->most_lanes = s->n_lanes;
	imap_close(&i);
}

struct lane *lanes_next(struct imap_sink *s, const struct imap_append *a)
{
	/* Receipts tell apart what several sessions store at a time; and what the
	 * server dislikes the first one finds out. */
	if (s->most_lanes < 2 || !imap_server(s->imap)->uidplus ||
		!imap_has_to_wait(s->imap, a->message) || !imap_takes(s->imap, a))
		return &s->lane[0];
	if (s->n_lanes < s->most_lanes && ++s->waited > WORTH) {
		s->waited = 0;
		open_another(s);
	}
	return &s->lane[s->turn++ % s->n_lanes];
}

enum status lanes_put(struct imap_sink *s, struct upload *u, struct err *err)
{
	struct lane *lane = u->lane;
	enum status rc = ST_OK;

	if (lane != &s->lane[0] && lane->home != u->mailbox) {
		rc = imap_flush(lane->imap, err);
		if (rc == ST_OK)
			rc = imap_folder(
				lane->imap, u->delivery->folder, &lane->mailbox, err);
		lane->home = rc == ST_OK ? u->mailbox : NULL;
	}
	if (rc == ST_OK && lane != &s->lane[0])
		u->append.mailbox = lane->mailbox;
	if (rc == ST_OK)
		rc = imap_append(lane->imap, &u->append, err);
	lanes_blame(s, lane, rc);
	return rc;
}

enum status lanes_send(struct imap_sink *s, struct err *err)
{
	enum status rc = ST_OK;
	unsigned k;

	for (k = 1; rc == ST_OK && k < s->n_lanes; k++) {
		rc = imap_flush(s->lane[k].imap, err);
		lanes_blame(s, &s->lane[k], rc);
	}
	return rc;
}

enum status lanes_finish(struct imap_sink *s, struct err *err)
{
	enum status rc = lanes_send(s, err);
	unsigned k;

	for (k = 0; rc == ST_OK && k < s->n_lanes; k++) {
		rc = imap_finish(s->lane[k].imap, err);
		lanes_blame(s, &s->lane[k], rc);
	}
	return rc;
}

enum status lanes_await(struct imap_sink *s, const struct upload *u, struct err *err)
{
	enum status rc = imap_await(u->lane->imap, &u->append, err);

	lanes_blame(s, u->lane, rc);
	return rc;
}

void lanes_blame(struct imap_sink *s, const struct lane *lane, enum status rc)
{
	struct err ignored;

	if (rc == ST_OK || lane == &s->lane[0])
		return;
	s->wait_ms = imap_wait_ms(lane->imap);
	s->refused = imap_refused(lane->imap);
	/* While the first lives it is not the line: there may be too many of us. */
	if (rc == ST_RETRY && s->crowded && imap_finish(s->imap, &ignored) == ST_OK)
		++*s->crowded;
}

void lanes_drop(struct imap_sink *s)
{
	s->most_lanes = 1;
	pthread_mutex_lock(&s->lock);
	while (s->n_lanes > 1)
		imap_close(&s->lane[--s->n_lanes].imap);
	pthread_mutex_unlock(&s->lock);
}

int lanes_wait_ms(struct imap_sink *s)
{
	int most = s->wait_ms, ms;
	unsigned k;

	for (k = 0; k < s->n_lanes; k++) {
		ms = imap_wait_ms(s->lane[k].imap);
		if (ms > most || (ms < 0 && !most))
			most = ms;
	}
	return most;
}

void lanes_cancel(struct imap_sink *s)
{
	unsigned k;

	pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	for (k = 0; k < s->n_lanes; k++)
		imap_cancel(s->lane[k].imap);
	pthread_mutex_unlock(&s->lock);
}

void lanes_close(struct imap_sink *s)
{
	lanes_drop(s);
	imap_close(&s->imap);
	pthread_mutex_destroy(&s->lock);
}
