/* t_engine.c: whole runs against servers that misbehave; each row is a story. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

enum { RUNS = 4, STORY_SECONDS = 40 };

struct run {
	const char *mail;    /* in the maildrop; NULL: as before */
	const char *options; /* see kit_job_at() */
	struct fakepop_ways pop;
	struct fakeimap_ways imap;
	int exit;
	const char *ledger;  /* NULL: there is no such run */
	const char *archive; /* what is in the archive then; NULL: do not look */
	void (*before)(struct rig *r);
	const char *say; /* to the IMAP server; "_" is a blank in a word */
	int batch; /* messages in a batch, of which many are under way then; 0: all */
};

struct story {
	const char *name;
	const char *there; /* in INBOX before all */
	struct run run[RUNS];
	const char *mail; /* at the IMAP side in the end, in any order */
};

static void lose_journal(struct rig *r)
{
	kit_remove(r->state);
}

static void renumber(struct rig *r)
{
	fakeimap_renumber(r->imap);
}

static void other_uidls(struct rig *r)
{
	fakepop_prefix(r->pop, "new-");
}

static void all_same_uidl(struct rig *r)
{
	fakepop_empty(r->pop);
	fakepop_add(r->pop, "same", kit_text(r, 'a'));
	fakepop_add(r->pop, "same", kit_text(r, 'b'));
	fakepop_add(r->pop, "same", kit_text(r, 'c'));
	fakepop_add(r->pop, "", kit_text(r, 'd'));
}

static void clear_out(struct rig *r)
{
	fakeimap_empty(r->imap);
}

static void begin_anew(struct rig *r)
{
	fakeimap_forget(r->imap);
}

#define ALPHABET "abcdefghijklmnopqrstuvwxyz"
#define TEN_A "aaaaaaaaaa"
#define HUNDRED_A TEN_A TEN_A TEN_A TEN_A TEN_A TEN_A TEN_A TEN_A TEN_A TEN_A
#define MANY_A HUNDRED_A HUNDRED_A HUNDRED_A HUNDRED_A HUNDRED_A HUNDRED_A
#define PLAIN "UIDPLUS"
#define NO_UIDPLUS "LITERAL+ MULTIAPPEND"
#define SINGLE "UIDPLUS LITERAL+"

static const struct story stories[] = {
	{ "plain", NULL,
		{ { .mail = ALPHABET, .ledger = "26 listed, 26 stored" },
			{ .ledger = "26 listed, 26 known" } },
		ALPHABET },
	{ "nothing there", NULL, { { .mail = "", .ledger = "" } }, "" },
	{ "more comes", NULL,
		{ { .mail = "abc", .ledger = "3 listed, 3 stored" },
			{ .mail = "abcde", .ledger = "5 listed, 3 known, 2 stored" } },
		"abcde" },

	/* ---- what IMAP servers can do ---- */
	{ "no UIDPLUS", NULL,
		{ { .mail = ALPHABET,
			  .imap.capabilities = NO_UIDPLUS,
			  .ledger = "26 listed, 26 stored" },
			{ .imap.capabilities = NO_UIDPLUS,
				.ledger = "26 listed, 26 known" } },
		ALPHABET },
	{ "no LITERAL+, no MULTIAPPEND", NULL,
		{ { .mail = ALPHABET,
			.imap.capabilities = PLAIN,
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "LITERAL-", NULL,
		{ { .mail = ALPHABET,
			.imap.capabilities = "UIDPLUS LITERAL-",
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "no MULTIAPPEND", NULL,
		{ { .mail = ALPHABET,
			.imap.capabilities = SINGLE,
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "all receipts say UID 1", NULL,
		{ { .mail = "abcdef",
			  .imap.same_uid = true,
			  .ledger = "6 listed, 6 stored" },
			{ .mail = "abcdefg",
				.imap.same_uid = true,
				.ledger = "7 listed, 6 known, 1 stored" } },
		"abcdefg" },

	/* ---- lost replies ---- */
	{ "lost OK, stored", NULL,
		{ { .mail = ALPHABET,
			.imap = { .drop = "(k)",
				.drop_times = 1,
				.commit = COMMIT_YES },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "lost OK, not stored", NULL,
		{ { .mail = ALPHABET,
			.imap = { .drop = "(k)", .drop_times = 1, .commit = COMMIT_NO },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "lost OK, stored, singly", NULL,
		{ { .mail = ALPHABET,
			.imap = { .capabilities = SINGLE,
				.drop = "(k)",
				.drop_times = 1,
				.commit = COMMIT_YES },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "lost OK, not stored, synchronous", NULL,
		{ { .mail = "abcdefgh",
			.imap = { .capabilities = PLAIN,
				.drop = "(d)",
				.drop_times = 2,
				.commit = COMMIT_NO },
			.ledger = "8 listed, 8 stored" } },
		"abcdefgh" },
	{ "lost OK, stored, no UIDPLUS", NULL,
		{ { .mail = ALPHABET,
			.imap = { .capabilities = NO_UIDPLUS,
				.drop = "(k)",
				.drop_times = 1,
				.commit = COMMIT_YES },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "late commit", NULL,
		{ { .mail = "abcdefgh",
			.imap = { .drop = "(d)",
				.drop_times = 1,
				.commit = COMMIT_LATE,
				.late_ms = 50 },
			.ledger = "8 listed, 8 stored" } },
		"abcdefgh" },
	{ "equal copies, one lost, none stored of it", NULL,
		{ { .mail = "baaaac",
			.options = "dedup=none",
			.imap = { .capabilities = SINGLE,
				.drop = "(a)",
				.drop_times = 1,
				.commit = COMMIT_NO },
			.ledger = "6 listed, 6 stored" } },
		"baaaac" },
	{ "equal copies without UIDPLUS, one lost", NULL,
		{ { .mail = "bac",
			  .options = "dedup=none",
			  .imap.capabilities = "LITERAL+",
			  .ledger = "3 listed, 3 stored" },
			{ .mail = "bacaa",
				.options = "dedup=none",
				.imap = { .capabilities = "LITERAL+",
					.drop = "(a)",
					.drop_times = 1,
					.commit = COMMIT_NO },
				.ledger = "5 listed, 3 known, 2 stored" } },
		"bacaa" },
	{ "equal copies, the second lost, not stored", NULL,
		{ { .mail = "baaaac",
			.options = "dedup=none",
			.imap = { .capabilities = PLAIN,
				.drop = "(a)",
				.drop_skip = 1,
				.drop_times = 1,
				.commit = COMMIT_NO },
			.ledger = "6 listed, 6 stored" } },
		"baaaac" },
	{ "equal copies, the second lost, stored", NULL,
		{ { .mail = "baaaac",
			.options = "dedup=none",
			.imap = { .capabilities = "NOTHING",
				.drop = "(a)",
				.drop_skip = 1,
				.drop_times = 2,
				.commit = COMMIT_YES },
			.ledger = "6 listed, 6 stored" } },
		"baaaac" },
	{ "lost, and the user has an equal one", "a",
		{ { .mail = "bc",
			  .options = "dedup=none",
			  .ledger = "2 listed, 2 stored" },
			{ .options = "dedup=none", .ledger = "2 listed, 2 known" },
			{ .options = "dedup=none", .ledger = "2 listed, 2 known" },
			{ .mail = "bca",
				.options = "dedup=none",
				.imap = { .drop = "(a)",
					.drop_times = 1,
					.commit = COMMIT_NO },
				.ledger = "3 listed, 2 known, 1 stored" } },
		"abca" },
	{ "a lost journal and a part of the maildrop", "abcde",
		{ { .mail = "ab", .ledger = "2 listed, 2 stored" },
			{ .mail = "abc", .ledger = "3 listed, 2 known, 1 stored" },
			{ .ledger = "3 listed, 3 known" },
			{ .mail = "abcde", .ledger = "5 listed, 3 known, 2 stored" } },
		"abcde" },
	{ "after an empty listing nothing is settled", "ab",
		{ { .mail = "", .ledger = "" },
			{ .mail = "ab", .ledger = "2 listed, 2 stored" } },
		"ab" },
	{ "in doubt, and an equal one that is not", NULL,
		{ { .mail = "aab",
			  .options = "dedup=none limit=1",
			  .exit = 2,
			  .ledger = "3 listed, 1 stored, 2 left" },
			{ .options = "dedup=none",
				.imap = { .drop = "(a)",
					.commit = COMMIT_YES,
					.down_after = 2 },
				.exit = 75,
				.ledger = "3 listed, 1 known, 2 left" },
			{ .mail = "aaba",
				.options = "dedup=none",
				.ledger = "4 listed, 1 known, 3 stored" } },
		"aaba" },
	{ "down in mid-batch", NULL,
		{ { .mail = "abcdef",
			  .imap = { .capabilities = SINGLE, .down_after = 2 },
			  .batch = 100,
			  .exit = 75,
			  .ledger = "6 listed, 2 stored, 4 left" },
			{ .ledger = "6 listed, 2 known, 4 stored" } },
		"abcdef" },
	{ "ill in mid-batch", NULL,
		{ { .mail = ALPHABET,
			  .imap = { .capabilities = SINGLE, .ill_after = 2 },
			  .exit = 75,
			  .ledger = "26 listed, 2 stored, 1 failed, 23 left" },
			{ .ledger = "26 listed, 2 known, 24 stored" } },
		ALPHABET },
	{ "BYE in mid-batch", NULL,
		{ { .mail = ALPHABET,
			.imap = { .capabilities = SINGLE, .bye_after = 7 },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "BYE over and over", NULL,
		{ { .mail = "abcdefgh",
			.imap.bye_after = 1,
			.ledger = "8 listed, 8 stored" } },
		"abcdefgh" },
	{ "the destination is down", NULL,
		{ { .mail = "abc",
			  .imap.down = true,
			  .exit = 75,
			  .ledger = "3 listed, 3 left" },
			{ .ledger = "3 listed, 3 stored" } },
		"abc" },
	{ "a message that ends every session of the destination", NULL,
		{ { .mail = ALPHABET,
			  .imap = { .drop = "(k)", .commit = COMMIT_NO },
			  .exit = 2,
			  .ledger = "26 listed, 25 stored, 1 failed" },
			{ .ledger = "26 listed, 25 known, 1 stored" } },
		ALPHABET },
	{ "and stores it", NULL,
		{ { .mail = ALPHABET,
			.imap = { .drop = "(k)", .commit = COMMIT_YES },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },

	/* ---- refusals ---- */
	{ "one refused always", NULL,
		{ { .mail = ALPHABET,
			  .imap = { .refuse = "(k)", .refusal = "NO [TOOBIG] no" },
			  .exit = 2,
			  .ledger = "26 listed, 25 stored, 1 failed" },
			{ .imap = { .refuse = "(k)", .refusal = "NO [TOOBIG] no" },
				.exit = 2,
				.ledger = "26 listed, 25 known, 1 failed" },
			{ .ledger = "26 listed, 25 known, 1 stored" } },
		ALPHABET },
	{ "one refused, singly", NULL,
		{ { .mail = ALPHABET,
			.imap = { .capabilities = SINGLE,
				.refuse = "(k)",
				.refusal = "NO virus" },
			.exit = 2,
			.ledger = "26 listed, 25 stored, 1 failed" } },
		"abcdefghijlmnopqrstuvwxyz" },
	{ "refused with BAD", NULL,
		{ { .mail = ALPHABET,
			.imap = { .refuse = "(k)", .refusal = "BAD message" },
			.exit = 2,
			.ledger = "26 listed, 25 stored, 1 failed" } },
		"abcdefghijlmnopqrstuvwxyz" },
	{ "the first is refused", NULL,
		{ { .mail = "abc",
			.imap = { .refuse = "(a)", .refusal = "NO no" },
			.exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed" } },
		"bc" },
	{ "refused twins", NULL,
		{ { .mail = "aaab",
			.imap = { .refuse = "(a)", .refusal = "NO no" },
			.exit = 2,
			.ledger = "4 listed, 1 stored, 3 failed" } },
		"b" },
	{ "no room", NULL,
		{ { .mail = ALPHABET,
			  .imap = { .capabilities = SINGLE, .quota = 9 },
			  .exit = 73,
			  .ledger = "26 listed, 9 stored, 17 left" },
			{ .ledger = "26 listed, 9 known, 17 stored" } },
		ALPHABET },
	{ "no room for a batch", NULL,
		{ { .mail = ALPHABET,
			  .imap.quota = 9,
			  .batch = 100,
			  .exit = 73,
			  .ledger = "26 listed, 1 stored, 25 left" },
			{ .ledger = "26 listed, 1 known, 25 stored" } },
		ALPHABET },
	{ "arguments are refused", NULL,
		{ { .mail = "abc",
			.imap.refuse_dates = true,
			.ledger = "3 listed, 3 stored" } },
		"abc" },
	{ "UIDVALIDITY changes", NULL,
		{ { .mail = "abcd", .ledger = "4 listed, 4 stored" },
			{ .mail = "abcdef",
				.before = renumber,
				.imap = { .drop = "(f)",
					.drop_times = 1,
					.commit = COMMIT_YES },
				.ledger = "6 listed, 4 known, 2 stored" },
			{ .mail = "abcdefgff",
				.options = "dedup=none",
				.imap = { .drop = "(f)",
					.drop_times = 1,
					.commit = COMMIT_NO },
				.ledger = "9 listed, 6 known, 3 stored" } },
		"abcdefgff" },

	{ "UIDs begin anew under the same UIDVALIDITY", NULL,
		{ { .mail = "abc", .ledger = "3 listed, 3 stored" },
			{ .mail = "abcde",
				.before = begin_anew,
				.ledger = "5 listed, 3 known, 2 stored" } },
		"de" },
	{ "INBOX in three spellings", NULL,
		{ { .mail = "abaa",
			  .options = "folder=inbox dedup=none",
			  .imap.capabilities = "LITERAL+",
			  .ledger = "4 listed, 4 stored" },
			{ .mail = "abaaca",
				.options = "folder=Inbox dedup=none",
				.imap = { .capabilities = "LITERAL+",
					.drop = "(a)",
					.drop_times = 1,
					.commit = COMMIT_NO },
				.ledger = "6 listed, 4 known, 2 stored" },
			{ .mail = "abaacaa",
				.options = "folder=INBOX dedup=none",
				.imap = { .drop = "(a)", .commit = COMMIT_YES },
				.ledger = "7 listed, 6 known, 1 stored" } },
		"abaacaa" },
	{ "one mailbox by two names", NULL,
		{ { .mail = "abaa",
			  .options = "folder=Sent dedup=none",
			  .ledger = "4 listed, 4 stored" },
			{ .mail = "abaaca",
				.options = "folder=special:Sent dedup=none",
				.imap = { .drop = "(a)",
					.drop_times = 1,
					.commit = COMMIT_NO },
				.ledger = "6 listed, 4 known, 2 stored" } },
		"abaaca" },

	/* ---- POP3 ---- */
	{ "the source ends after 3", NULL,
		{ { .mail = ALPHABET,
			.pop.drop_after = 3,
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "the source ends after 3, ahead", NULL,
		{ { .mail = ALPHABET,
			.pop = { .drop_after = 3, .pipelining = true },
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "poison", NULL,
		{ { .mail = ALPHABET,
			  .pop.poison = "(k)",
			  .exit = 2,
			  .ledger = "26 listed, 25 stored, 1 failed" },
			{ .ledger = "26 listed, 25 known, 1 stored" } },
		ALPHABET },
	{ "all poison", NULL,
		{ { .mail = ALPHABET,
			  .pop.poison = "letter",
			  .exit = 75,
			  .ledger = "26 listed, 3 failed, 23 left" },
			{ .ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "four that are poison, first", NULL,
		{ { .mail = "abcdpP0",
			  .pop.poison = "so that sizes differ",
			  .exit = 75,
			  .ledger = "7 listed, 3 failed, 4 left" },
			{ .pop.poison = "so that sizes differ",
				.exit = 2,
				.ledger = "7 listed, 3 stored, 4 failed" },
			{ .ledger = "7 listed, 3 known, 4 stored" } },
		"abcdpP0" },
	{ "-ERR to one RETR", NULL,
		{ { .mail = ALPHABET,
			  .pop = { .refuse = "(k)", .pipelining = true },
			  .exit = 2,
			  .ledger = "26 listed, 25 stored, 1 failed" },
			{ .ledger = "26 listed, 25 known, 1 stored" } },
		ALPHABET },
	{ "pipelining", NULL,
		{ { .mail = ALPHABET,
			.pop.pipelining = true,
			.ledger = "26 listed, 26 stored" } },
		ALPHABET },
	{ "pipelining that lies", NULL,
		{ { .mail = ALPHABET,
			  .pop.lies = true,
			  .ledger = "26 listed, 26 stored" },
			{ .pop.lies = true, .ledger = "26 listed, 26 known" } },
		ALPHABET },
	{ "pipelining that lies later", NULL,
		{ { .mail = "abcdef",
			.pop.hates_ahead = true,
			.ledger = "6 listed, 6 stored" } },
		"abcdef" },
	{ "other UIDLs", NULL,
		{ { .mail = "abc0!", .ledger = "5 listed, 5 stored" },
			{ .before = other_uidls, .ledger = "5 listed, 5 known" },
			{ .ledger = "5 listed, 5 known" } },
		"abc0!" },
	{ "UIDLs used again", NULL,
		{ { .mail = "abc", .ledger = "3 listed, 3 stored" },
			{ .mail = "xbz", .ledger = "3 listed, 1 known, 2 stored" },
			{ .mail = "abc", .ledger = "3 listed, 3 known" } },
		"abcxz" },
	{ "no UIDLs", NULL,
		{ { .mail = "abcab01",
			  .pop.no_uidl = true,
			  .ledger = "7 listed, 5 stored, 2 duplicate" },
			{ .pop.no_uidl = true,
				.ledger = "7 listed, 5 known, 2 duplicate" } },
		"abc01" },
	{ "no UIDLs, copies kept", NULL,
		{ { .mail = "abcab01",
			  .pop.no_uidl = true,
			  .options = "dedup=none",
			  .ledger = "7 listed, 7 stored" },
			{ .mail = "aaabcab01",
				.pop.no_uidl = true,
				.options = "dedup=none",
				.ledger = "9 listed, 7 known, 2 stored" } },
		"aaabcab01" },
	{ "no UIDLs, dropped", NULL,
		{ { .mail = "abcab01",
			.pop = { .no_uidl = true, .drop_after = 2 },
			.options = "dedup=none",
			.ledger = "7 listed, 7 stored" } },
		"abcab01" },
	{ "one UIDL for all", NULL,
		{ { .before = all_same_uidl, .ledger = "4 listed, 4 stored" },
			{ .ledger = "4 listed, 4 known" } },
		"abcd" },
	{ "one vanishes", NULL,
		{ { .mail = ALPHABET,
			.pop = { .drop_after = 5, .vanish = "(k)" },
			.ledger = "26 listed, 25 stored, 1 vanished" } },
		"abcdefghijlmnopqrstuvwxyz" },

	/* ---- duplicates ---- */
	{ "equal messages", NULL,
		{ { .mail = "aabAb0011!!?",
			.ledger = "12 listed, 7 stored, 5 duplicate" } },
		"abA01!?" },
	{ "dedup exact", NULL,
		{ { .mail = "aabAb0011!!?",
			.options = "dedup=exact",
			.ledger = "12 listed, 7 stored, 5 duplicate" } },
		"abA01!?" },
	{ "dedup by Message-ID only", NULL,
		{ { .mail = "aabAb0011!!?",
			.options = "dedup=message-id-only",
			.ledger = "12 listed, 6 stored, 6 duplicate" } },
		"ab01!?" },
	{ "dedup none", NULL,
		{ { .mail = "aabAb0011!!?",
			.options = "dedup=none",
			.ledger = "12 listed, 12 stored" } },
		"aabAb0011!!?" },
	{ "duplicates and --limit", NULL,
		{ { .mail = "aaabbc",
			  .options = "limit=4",
			  .exit = 2,
			  .ledger = "6 listed, 2 stored, 2 duplicate, 2 left" },
			{ .ledger = "6 listed, 4 known, 1 stored, 1 duplicate" } },
		"abc" },

	/* ---- a destination that holds mail already ---- */
	{ "lost journal", NULL,
		{ { .mail = "abcdA0!@", .ledger = "8 listed, 8 stored" },
			{ .before = lose_journal, .ledger = "8 listed, 8 stored" } },
		"abcdA0!@" },
	{ "lost journal, no UIDPLUS", NULL,
		{ { .mail = "abcdA0!",
			  .imap.capabilities = NO_UIDPLUS,
			  .ledger = "7 listed, 7 stored" },
			{ .before = lose_journal,
				.imap.capabilities = NO_UIDPLUS,
				.ledger = "7 listed, 7 stored" } },
		"abcdA0!" },
	{ "some of it there", "acX0",
		{ { .mail = "abcdx01", .ledger = "7 listed, 7 stored" } }, "abcdXx01" },
	{ "some of it there, exact", "acX0",
		{ { .mail = "abcdx01",
			.options = "dedup=exact",
			.ledger = "7 listed, 7 stored" } },
		"abcdXx01" },
	{ "some of it there, none", "aax",
		{ { .mail = "aaaab",
			.options = "dedup=none",
			.ledger = "5 listed, 5 stored" } },
		"aaaabx" },
	{ "some of it there, none, no UIDPLUS", "aax",
		{ { .mail = "aaaab",
			  .options = "dedup=none",
			  .imap.capabilities = NO_UIDPLUS,
			  .exit = 2,
			  .pop.refuse = "(b)",
			  .ledger = "5 listed, 4 stored, 1 failed" },
			{ .mail = "aaaabaa",
				.options = "dedup=none",
				.imap.capabilities = NO_UIDPLUS,
				.ledger = "7 listed, 4 known, 3 stored" } },
		"aaaabxaa" },
	{ "some of it there, by Message-ID only", "ac",
		{ { .mail = "abcd",
			.options = "dedup=message-id-only",
			.ledger = "4 listed, 4 stored" } },
		"abcd" },
	{ "deleted by the user", NULL,
		{ { .mail = "abc", .ledger = "3 listed, 3 stored" },
			{ .before = clear_out, .ledger = "3 listed, 3 known" } },
		"" },

	/* ---- two destinations ---- */
	{ "an archive beside", NULL,
		{ { .mail = ALPHABET "aA",
			  .options = "archive",
			  .imap = { .drop = "(k)",
				  .drop_times = 1,
				  .commit = COMMIT_YES },
			  .ledger = "28 listed, 27 stored, 1 duplicate" },
			{ .options = "archive",
				.ledger = "28 listed, 28 known",
				.archive = ALPHABET "A" } },
		ALPHABET "A" },
	{ "no room at one of two", NULL,
		{ { .mail = ALPHABET,
			  .options = "archive",
			  .imap = { .capabilities = SINGLE, .quota = 9 },
			  .exit = 73,
			  .ledger = "26 listed, 9 stored, 17 left" },
			{ .options = "archive",
				.ledger = "26 listed, 9 known, 17 stored" },
			{ .options = "only-archive",
				.ledger = "26 listed, 26 known",
				.archive = ALPHABET } },
		ALPHABET },
	{ "refused by one of two", NULL,
		{ { .mail = "abcd",
			  .options = "archive",
			  .imap = { .refuse = "(b)", .refusal = "NO no" },
			  .exit = 2,
			  .ledger = "4 listed, 3 stored, 1 failed" },
			{ .options = "archive",
				.ledger = "4 listed, 3 known, 1 stored",
				.archive = "abcd" } },
		"abcd" },
	{ "an archive added later", NULL,
		{ { .mail = "aab", .ledger = "3 listed, 2 stored, 1 duplicate" },
			{ .options = "archive",
				.ledger = "3 listed, 2 stored, 1 duplicate" },
			{ .options = "archive",
				.ledger = "3 listed, 3 known",
				.archive = "ab" } },
		"ab" },
	/* ---- several batches under way ---- */
	{ "one by one", NULL,
		{ { .mail = ALPHABET "a",
			  .batch = 1,
			  .ledger = "27 listed, 26 stored, 1 duplicate" },
			{ .ledger = "27 listed, 27 known" } },
		ALPHABET },
	{ "more twins wait than may", NULL,
		{ { .mail = MANY_A,
			.batch = 1,
			.ledger = "600 listed, 1 stored, 599 duplicate" } },
		"a" },
	/* The second a must not be taken for the first one's copy, of which it is not
	 * known where it is. */
	{ "copies kept, lost while a look is taken", "x",
		{ { .mail = "abac",
			.batch = 1,
			.options = "dedup=none",
			.imap = { .capabilities = "LITERAL+",
				.drop = "(b)",
				.drop_times = 1,
				.commit = COMMIT_YES },
			.ledger = "4 listed, 4 stored" } },
		"xaabc" },
	{ "copies kept, lost while a look is taken, UIDPLUS", "x",
		{ { .mail = "abac",
			.batch = 1,
			.options = "dedup=none",
			.imap = { .capabilities = "LITERAL+ UIDPLUS",
				.drop = "(b)",
				.drop_times = 1,
				.commit = COMMIT_YES },
			.ledger = "4 listed, 4 stored" } },
		"xaabc" },
	/* OK without a receipt: nothing may be believed before a look. */
	{ "an OK for nothing, and then the server is down", "x",
		{ { .mail = "abc",
			  .batch = 1,
			  .imap = { .capabilities = "UIDPLUS LITERAL+",
				  .drop = "(b)",
				  .commit = COMMIT_YES,
				  .down_after = 2 },
			  .say = "append~(a) tagged OK_done commit=no times=1",
			  .exit = 75,
			  .ledger = "3 listed, 3 left" },
			{ .ledger = "3 listed, 3 stored" } },
		"xabc" },
	{ "copies kept, and then the server is down", "x",
		{ { .mail = "aabc",
			  .batch = 1,
			  .options = "dedup=none",
			  .imap = { .capabilities = "LITERAL+",
				  .drop = "(b)",
				  .commit = COMMIT_YES,
				  .down_after = 4 },
			  .exit = 75,
			  .ledger = "4 listed, 4 left" },
			{ .options = "dedup=none", .ledger = "4 listed, 4 stored" } },
		"xaabc" },
	{ "an archive alone, copies kept", NULL,
		{ { .mail = "aabA00",
			  .options = "only-archive dedup=none",
			  .ledger = "6 listed, 6 stored" },
			{ .before = lose_journal,
				.options = "only-archive dedup=none",
				.ledger = "6 listed, 6 stored",
				.archive = "aabA00" } },
		"" },
	/* An archive has its messages in no folder: neither is one taken for its
	 * twin. */
	{ "an archive alone, copies kept in two folders", NULL,
		{ { .mail = "aab",
			  .options = "only-archive dedup=none limit=1",
			  .exit = 2,
			  .ledger = "3 listed, 1 stored, 2 left" },
			{ .options = "only-archive dedup=none folder=Else",
				.ledger = "3 listed, 1 known, 2 stored",
				.archive = "aab" } },
		"" },
};

static void say(struct rig *r, const char *line)
{
	char copy[200], why[200] = "", *argv[12], *p = copy, *q;
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	while (argc < 12 && (argv[argc] = strsep(&p, " ")))
		for (q = argv[argc++]; *q; q++)
			*q = *q == '_' ? ' ' : *q;
	if (!fakeimap_say(r->imap, argc, argv, why, sizeof(why)))
		fail_msg("%s: %s", line, why);
}

static void play(struct rig *r, const struct story *s)
{
	const char *p;
	size_t i;

	for (p = s->there; p && *p; p++)
		fakeimap_put(r->imap, "INBOX", kit_text(r, *p));
	for (i = 0; i < RUNS && s->run[i].ledger; i++) {
		const struct run *run = &s->run[i];
		int code;

		if (run->mail)
			kit_mail(r, run->mail);
		if (run->before)
			run->before(r);
		fakepop_behave(r->pop, &run->pop);
		fakeimap_behave(r->imap, &run->imap);
		say(r, run->say ? run->say : "well");
		r->batch = run->batch;
		code = kit_run(r, run->options);
		if (code != run->exit || strcmp(r->ledger, run->ledger) != 0)
			fail_msg("%s, run %zu: exit %d (%s), %s; not %d, %s", s->name,
				i + 1, code, r->out.err.text, r->ledger, run->exit,
				run->ledger);
		if (run->archive)
			kit_expect_archive(r, s->name, run->archive);
	}
	kit_expect(r, s->name, s->mail);
}

static void test_story(void **state)
{
	struct rig *r;

	alarm(STORY_SECONDS);
	kit_open(&r);
	play(r, *state);
	kit_close(&r);
	alarm(0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_ELEMENTS(stories)];
	size_t i;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (i = 0; i < N_ELEMENTS(stories); i++)
		tests[i] = (struct CMUnitTest){ stories[i].name, test_story, NULL, NULL,
			(void *)(uintptr_t)&stories[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
