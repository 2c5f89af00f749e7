/* t_imap_folder.c: folder names, creation, SELECT and quotas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "t_imap.h"

#define START(caps, delimiter) GREET(caps) LOGIN(caps, delimiter)

#define NAMESPACE(ns) \
	GREET("X") \
	"C: 2 LOGIN ann pw\nS: 2 OK in\nC: 3 CAPABILITY\n" \
	"S: * CAPABILITY IMAP4rev1 NAMESPACE\nS: 3 OK done\n" \
	"C: 4 NAMESPACE\nS: * NAMESPACE (" ns ") NIL NIL\nS: 4 OK done\n"

#define MISSING(tag, name) "C: " tag " LIST \"\" \"" name "\"\nS: " tag " OK done\n"
#define THERE(tag, name, listed) \
	"C: " tag " LIST \"\" \"" name "\"\nS: * LIST () " listed "\nS: " tag \
	" OK done\n"

static const struct {
	const char *name, *folder, *script;
	enum status status;
	int exit;
	const char *text, *wire;
	bool created;
} rows[] = {
	{ "inbox costs nothing", "iNbOx", START("X", "\".\"") LOGOUT("5"), ST_OK, 0,
		NULL, "INBOX", false },
	{ "no name is inbox", "", START("X", "\".\"") LOGOUT("5"), ST_OK, 0, NULL,
		"INBOX", false },
	{ "there", "Old/Mail",
		START("X", "\".\"") THERE("5", "Old.Mail", "\".\" Old.Mail")
			LOGOUT("6"),
		ST_OK, 0, NULL, "Old.Mail", false },
	{ "below inbox", "inbox/a b",
		START("X", "\"/\"") THERE("5", "INBOX/a b", "\"/\" \"INBOX/a b\"")
			LOGOUT("6"),
		ST_OK, 0, NULL, "INBOX/a b", false },
	{ "created, subscribed, spelt by the server", "Archive",
		START("X", "\"/\"") MISSING("5",
			"Archive") "C: 6 CREATE Archive\n"
				   "S: 6 OK made\n" THERE("7", "Archive",
					   "\"/\" archive") "C: 8 SUBSCRIBE archive\n"
							    "S: 8 OK yes\n" LOGOUT("9"),
		ST_OK, 0, NULL, "archive", true },
	{ "created and not listed", "Archive",
		START("X", "\"/\"") MISSING("5",
			"Archive") "C: 6 CREATE Archive\n"
				   "S: 6 OK made\n" MISSING("7",
					   "Archive") "C: 8 SUBSCRIBE Archive\n"
						      "S: 8 NO not here\n" LOGOUT("9"),
		ST_OK, 0, NULL, "Archive", true },
	{ "exists after all", "Archive",
		START("X", "\"/\"") MISSING(
			"5", "Archive") "C: 6 CREATE Archive\n"
					"S: 6 NO [ALREADYEXISTS] it is\n" THERE("7",
						"Archive", "\"/\" Archive") LOGOUT("8"),
		ST_OK, 0, NULL, "Archive", true },
	{ "cannot be made", "Archive",
		START("X", "\"/\"") MISSING(
			"5", "Archive") "C: 6 CREATE Archive\n"
					"S: 6 NO [CANNOT] not that name\n" MISSING(
						"7", "Archive") LOGOUT("8"),
		ST_DENIED, EX_CANTCREAT,
		"cannot make mailbox \"Archive\" for folder \"Archive\" (server said: "
		"[CANNOT] not that name)",
		NULL, false },
	{ "CREATE over quota", "Archive",
		START("X", "\"/\"")
			MISSING("5", "Archive") "C: 6 CREATE Archive\n"
						"S: 6 NO [OVERQUOTA] full\n" MISSING(
							"7", "Archive") LOGOUT("8"),
		ST_DENIED, EX_CANTCREAT, "[OVERQUOTA] full", NULL, false },
	{ "CREATE throttled", "Archive",
		START("X", "\"/\"")
			MISSING("5", "Archive") "C: 6 CREATE Archive\n"
						"S: 6 NO [LIMIT] slowly\n" LOGOUT("7"),
		ST_RETRY, EX_TEMPFAIL, "[LIMIT] slowly", NULL, false },
	{ "bye at CREATE", "Archive",
		START("X", "\"/\"")
			MISSING("5", "Archive") "C: 6 CREATE Archive\n"
						"S: * BYE maintenance\nEOF\n",
		ST_RETRY, EX_TEMPFAIL, "maintenance", NULL, false },
	{ "a folder of folders becomes a mailbox", "a",
		START("X",
			"\"/\"") "C: 5 LIST \"\" \"a\"\n"
				 "S: * LIST (\\\\Noselect \\\\HasChildren) \"/\" a\n"
				 "S: 5 OK done\nC: 6 CREATE a\nS: 6 OK made\n" THERE(
					 "7", "a",
					 "\"/\" a") "C: 8 SUBSCRIBE a\nS: 8 OK yes\n" LOGOUT("9"),
		ST_OK, 0, NULL, "a", true },
	{ "a folder of folders stays one", "a",
		START("X", "\"/\"") "C: 5 LIST \"\" \"a\"\n"
				    "S: * LIST (\\\\Noselect) \"/\" a\n"
				    "S: 5 OK done\nC: 6 CREATE a\nS: 6 NO no\n"
				    "C: 7 LIST \"\" \"a\"\n"
				    "S: * LIST (\\\\Noselect) \"/\" a\n"
				    "S: 7 OK done\n" LOGOUT("8"),
		ST_DENIED, EX_CANTCREAT, "Noselect", NULL, false },
	{ "LIST refused", "a",
		START("X", "\"/\"") "C: 5 LIST \"\" \"a\"\nS: 5 NO no\n" LOGOUT("6"),
		ST_DENIED, EX_CANTCREAT, "refuses to list mailbox \"a\"", NULL, false },
	{ "prefix with dot", "Old/Mail",
		NAMESPACE("(\"INBOX.\" \".\")") THERE(
			"5", "INBOX.Old.Mail", "\".\" INBOX.Old.Mail") LOGOUT("6"),
		ST_OK, 0, NULL, "INBOX.Old.Mail", false },
	{ "prefix not twice", "inbox/Old",
		NAMESPACE("(\"INBOX.\" \".\")")
			THERE("5", "INBOX.Old", "\".\" INBOX.Old") LOGOUT("6"),
		ST_OK, 0, NULL, "INBOX.Old", false },
	{ "inbox has no prefix", "INBOX", NAMESPACE("(\"INBOX.\" \".\")") LOGOUT("5"),
		ST_OK, 0, NULL, "INBOX", false },
	{ "prefix with slash", "Old/Mail",
		NAMESPACE("(\"Mail/\" \"/\")")
			THERE("5", "Mail/Old/Mail", "\"/\" Mail/Old/Mail") LOGOUT("6"),
		ST_OK, 0, NULL, "Mail/Old/Mail", false },
	{ "no hierarchy", "Old/Mail/x",
		NAMESPACE("(\"\" NIL)") THERE(
			"5", "Old - Mail - x", "NIL \"Old - Mail - x\"") LOGOUT("6"),
		ST_OK, 0, NULL, "Old - Mail - x", false },
	{ "modified UTF-7", "Entw\xc3\xbcrfe & Co",
		START("X", "\"/\"") THERE("5", "Entw&APw-rfe &- Co",
			"\"/\" \"Entw&APw-rfe &- Co\"") LOGOUT("6"),
		ST_OK, 0, NULL, "Entw&APw-rfe &- Co", false },
	{ "listed as a literal", "Old",
		START("X",
			"\"/\"") "C: 5 LIST \"\" \"Old\"\nS: * LIST () \"/\" {3}\nS: OLD\n"
				 "S: 5 OK done\n" LOGOUT("6"),
		ST_OK, 0, NULL, "OLD", false },
	{ "special use", "special:Sent",
		START("SPECIAL-USE",
			"\"/\"") "C: 5 LIST \"\" \"*\"\n"
				 "S: * LIST () \"/\" Sent\n"
				 "S: * LIST (\\\\HasNoChildren \\\\Sent) \"/\" "
				 "\"Gesendete Objekte\"\n"
				 "S: 5 OK done\n" LOGOUT("6"),
		ST_OK, 0, NULL, "Gesendete Objekte", false },
	{ "special use, extended list", "special:Sent",
		START("SPECIAL-USE LIST-EXTENDED",
			"\"/\"") "C: 5 LIST \"\" \"*\" RETURN (SPECIAL-USE)\n"
				 "S: * LIST () \"/\" Sent\n"
				 "S: * LIST (\\\\Sent) \"/\" x\n"
				 "S: 5 OK done\n" LOGOUT("6"),
		ST_OK, 0, NULL, "x", false },
	{ "special use, extended list refused", "special:Sent",
		START("SPECIAL-USE LIST-EXTENDED",
			"\"/\"") "C: 5 LIST \"\" \"*\" RETURN (SPECIAL-USE)\n"
				 "S: 5 BAD no\n"
				 "C: 6 LIST \"\" \"*\"\n"
				 "S: * LIST (\\\\Sent) \"/\" x\n"
				 "S: 6 OK done\n" LOGOUT("7"),
		ST_OK, 0, NULL, "x", false },
	{ "special use without any", "special:Sent",
		START("SPECIAL-USE", "\"/\"") "C: 5 LIST \"\" \"*\"\n"
					      "S: * LIST () \"/\" INBOX\n"
					      "S: 5 OK done\n" THERE("6", "Sent",
						      "\"/\" Sent") LOGOUT("7"),
		ST_OK, 0, NULL, "Sent", false },
	{ "special use not offered", "special:Sent",
		START("X", "\"/\"") "C: 5 LIST \"\" \"*\"\n"
				    "S: * LIST () \"/\" INBOX\n"
				    "S: 5 OK done\n" THERE("6", "Sent", "\"/\" Sent")
					    LOGOUT("7"),
		ST_OK, 0, NULL, "Sent", false },
	{ "special use by a name in another language", "special:Sent",
		START("X",
			"\"/\"") "C: 5 LIST \"\" \"*\"\n"
				 "S: * LIST () \"/\" x/Enviados\n"
				 "S: * LIST () \"/\" \"x/&AMk-l&AOk-ments envoy&AOk-s\"\n"
				 "S: 5 OK done\n" LOGOUT("6"),
		ST_OK, 0, NULL, "x/&AMk-l&AOk-ments envoy&AOk-s", false },
	{ "XLIST", "special:Junk",
		START("XLIST",
			"\"/\"") "C: 5 XLIST \"\" \"*\"\n"
				 "S: * XLIST (\\\\HasNoChildren) \"/\" Junk\n"
				 "S: * XLIST (\\\\HasNoChildren \\\\Spam) \"/\" Kosz\n"
				 "S: 5 OK done\n" LOGOUT("6"),
		ST_OK, 0, NULL, "Kosz", false },
	{ "XLIST refused", "special:Sent",
		START("XLIST", "\"/\"") "C: 5 XLIST \"\" \"*\"\n"
					"S: 5 BAD what\n"
					"C: 6 LIST \"\" \"*\"\n"
					"S: * LIST () \"/\" \"Sent Items\"\n"
					"S: 6 OK done\n" LOGOUT("7"),
		ST_OK, 0, NULL, "Sent Items", false },
	{ "made with its use", "special:Archive",
		START("SPECIAL-USE CREATE-SPECIAL-USE",
			"\"/\"") "C: 5 LIST \"\" \"*\"\nS: 5 OK done\n" MISSING("6",
			"Archive") "C: 7 CREATE \"Archive\" (USE (\\\\Archive))\n"
				   "S: 7 OK made\n" THERE("8", "Archive",
					   "\"/\" Archive") "C: 9 SUBSCRIBE Archive\n"
							    "S: 9 BAD what\n" LOGOUT(
								    "10"),
		ST_OK, 0, NULL, "Archive", true },
	{ "made with its use, refused", "special:Archive",
		START("SPECIAL-USE CREATE-SPECIAL-USE",
			"\"/\"") "C: 5 LIST \"\" \"*\"\nS: 5 OK done\n" MISSING("6",
			"Archive") "C: 7 CREATE \"Archive\" (USE (\\\\Archive))\n"
				   "S: 7 BAD what\nC: 8 CREATE Archive\n"
				   "S: 8 OK made\n" THERE("9", "Archive",
					   "\"/\" Archive") "C: 10 SUBSCRIBE Archive\n"
							    "S: 10 OK yes\n" LOGOUT(
								    "11"),
		ST_OK, 0, NULL, "Archive", true },
	{ "no mailbox below another", "a/b",
		START("X", "\"/\"") MISSING("5",
			"a/b") "C: 6 CREATE \"a/b\"\nS: 6 NO \\\\Noinferiors\n" MISSING("7",
			"a/b") MISSING("8",
			"a - b") "C: 9 CREATE \"a - b\"\nS: 9 OK made\n" THERE("10",
			"a - b", "\"/\" \"a - b\"") "C: 11 SUBSCRIBE \"a - b\"\n"
						    "S: 11 OK yes\n" LOGOUT("12"),
		ST_OK, 0, NULL, "a - b", true },
	{ "no mailbox below another, made before", "a/b",
		START("X", "\"/\"") MISSING("5",
			"a/b") "C: 6 CREATE \"a/b\"\nS: 6 NO \\\\Noinferiors\n" MISSING("7",
			"a/b") THERE("8", "a - b", "\"/\" \"a - b\"") LOGOUT("9"),
		ST_OK, 0, NULL, "a - b", false },
	{ "no mailbox at all", "a/b",
		START("X", "\"/\"") MISSING(
			"5", "a/b") "C: 6 CREATE \"a/b\"\nS: 6 NO no\n" MISSING("7",
			"a/b") MISSING("8",
			"a - b") "C: 9 CREATE \"a - b\"\nS: 9 NO no, no\n" MISSING("10",
			"a - b") LOGOUT("11"),
		ST_DENIED, EX_CANTCREAT, "cannot make mailbox \"a/b\"", NULL, false },
};

static enum status open_folder(struct rig *rig, const char *script, size_t step,
	const struct imap_config *cfg, const char *folder,
	const struct imap_mailbox **mb)
{
	enum status rc = rig_open(rig, script, step, cfg);

	if (rc == ST_OK)
		rc = imap_login(rig->imap, &rig->err);
	if (rc == ST_OK)
		rc = imap_folder(rig->imap, folder, mb, &rig->err);
	return rc;
}

static void test_folders(void **state)
{
	const struct imap_mailbox *mb, *again;
	struct imap_config cfg = rig_config();
	enum status rc;
	struct rig rig;
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		for (step = 0; step <= STEP_MAX; step += 1 + step / 16) {
			rc = open_folder(
				&rig, rows[k].script, step, &cfg, rows[k].folder, &mb);
			rig_want(&rig, rows[k].name, step, rc, rows[k].status,
				rows[k].exit, rows[k].text);
			if (rc == ST_OK) {
				assert_string_equal(mb->wire, rows[k].wire);
				assert_int_equal(mb->created, rows[k].created);
				assert_int_equal(imap_folder(rig.imap, rows[k].folder,
							 &again, &rig.err),
					ST_OK);
				assert_ptr_equal(again, mb);
				assert_false(again->created);
			}
			rig_close(&rig);
		}
	}
}

/* Names that would break out of a command never reach it. */
static void test_hostile_names(void **state)
{
	static const char *const names[] = { "a\r\nx DELETE INBOX", "a\" b", "\xff\xfe",
		"%*" };
	const struct imap_mailbox *mb;
	struct imap_config cfg = rig_config();
	struct rig rig;
	char why[SCRIPT_WHY];
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(names); k++) {
		/* Any one LIST line; what it names is on no account more. */
		assert_int_equal(
			open_folder(&rig,
				START("X",
					"\"/\"") "C~ 5 LIST \"\" \"\nS: * LIST () \"/\" x\n"
						 "S: 5 OK done\n" LOGOUT("6"),
				0, &cfg, names[k], &mb),
			ST_OK);
		imap_close(&rig.imap);
		if (!script_done(rig.script, why))
			fail_msg("%s: %s", names[k], why);
		script_close(&rig.script);
	}
}

static void test_select(void **state)
{
	const struct imap_mailbox *mb;
	struct imap_config cfg = rig_config();
	struct rig rig;
	size_t step;

	(void)state;
	for (step = 0; step <= STEP_MAX; step++) {
		assert_int_equal(
			open_folder(&rig,
				START("X", "\"/\"") SELECT("5", "INBOX", "3", "12")
					SELECT("6", "INBOX", "4", "13") LOGOUT("7"),
				step, &cfg, "", &mb),
			ST_OK);
		assert_int_equal(imap_select(rig.imap, mb, &rig.err), ST_OK);
		assert_int_equal(mb->uidvalidity, 77);
		assert_int_equal(mb->uidnext, 12);
		assert_int_equal(mb->exists, 3);
		assert_true(mb->keywords);
		assert_int_equal(imap_select(rig.imap, mb, &rig.err), ST_OK);
		assert_int_equal(imap_reselect(rig.imap, mb, &rig.err), ST_OK);
		assert_int_equal(mb->uidnext, 13);
		assert_int_equal(mb->exists, 4);
		rig_close(&rig);
	}
}

static void test_select_without_uidnext(void **state)
{
	const struct imap_mailbox *mb;
	struct imap_config cfg = rig_config();
	struct rig rig;

	(void)state;
	assert_int_equal(
		open_folder(&rig,
			START("X", "\"/\"") "C: 5 SELECT INBOX\nS: * 2 EXISTS\n"
					    "S: * OK [UIDVALIDITY 5] x\nS: 5 OK done\n"
					    "C: 6 UID FETCH * (UID)\n"
					    "S: * 2 FETCH (UID 41)\nS: 6 OK done\n"
					    "C: 7 SELECT INBOX\nS: * 0 EXISTS\n"
					    "S: 7 OK done\n" LOGOUT("8"),
			0, &cfg, "", &mb),
		ST_OK);
	assert_int_equal(imap_select(rig.imap, mb, &rig.err), ST_OK);
	assert_int_equal(mb->uidnext, 42);
	assert_false(mb->keywords);
	assert_int_equal(imap_reselect(rig.imap, mb, &rig.err), ST_OK);
	assert_int_equal(mb->uidnext, 1);
	rig_close(&rig);
}

static void test_select_refused(void **state)
{
	const struct imap_mailbox *mb;
	struct imap_config cfg = rig_config();
	struct rig rig;

	(void)state;
	assert_int_equal(
		open_folder(&rig,
			START("X",
				"\"/\"") "C: 5 SELECT INBOX\n"
					 "S: 5 NO SELECT Unsafe Login. Please contact us\n" LOGOUT(
						 "6"),
			0, &cfg, "", &mb),
		ST_OK);
	assert_int_equal(imap_select(rig.imap, mb, &rig.err), ST_DENIED);
	assert_int_equal(rig.err.exit, EX_CANTCREAT);
	assert_non_null(strstr(rig.err.text, "Unsafe Login"));
	rig_close(&rig);
}

static void test_room(void **state)
{
	static const struct {
		const char *caps, *lines;
		uint64_t room;
	} quotas[] = {
		{ "X", LOGOUT("5"), UINT64_MAX },
		{ "QUOTA",
			"C: 5 GETQUOTAROOT \"INBOX\"\nS: * QUOTAROOT INBOX \"\"\n"
			"S: * QUOTA \"\" (STORAGE 10 512)\nS: 5 OK x\n" LOGOUT("6"),
			502 * 1024 },
		{ "QUOTA",
			"C: 5 GETQUOTAROOT \"INBOX\"\nS: * QUOTAROOT {5}\nS: INBOX a b\n"
			"S: * QUOTA a (MESSAGE 1 2 STORAGE 600 512)\n"
			"S: * QUOTA {1}\nS: b (STORAGE 1 9)\nS: 5 OK x\n" LOGOUT("6"),
			0 },
		{ "QUOTA", "C: 5 GETQUOTAROOT \"INBOX\"\nS: 5 BAD what\n" LOGOUT("6"),
			UINT64_MAX },
		{ "QUOTA",
			"C: 5 GETQUOTAROOT \"INBOX\"\nS: * QUOTA \"\" ()\nS: 5 OK x\n" LOGOUT(
				"6"),
			UINT64_MAX },
	};
	const struct imap_mailbox *mb;
	struct imap_config cfg = rig_config();
	char text[4096];
	struct rig rig;
	uint64_t room;
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(quotas); k++) {
		snprintf(text, sizeof(text),
			GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\nC: 3 CAPABILITY\n"
				   "S: * CAPABILITY IMAP4rev1 %s\nS: 3 OK done\n"
				   "C: 4 LIST \"\" \"\"\nS: 4 OK done\n%s",
			quotas[k].caps, quotas[k].lines);
		assert_int_equal(open_folder(&rig, text, 7, &cfg, "", &mb), ST_OK);
		assert_int_equal(imap_room(rig.imap, mb, &room, &rig.err), ST_OK);
		assert_true(room == quotas[k].room);
		rig_close(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_folders),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_select_without_uidnext),
		cmocka_unit_test(test_select_refused),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
