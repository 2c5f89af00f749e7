/* page.c: the HTML of `popferry report`: escaped, self-contained, the same each
 * time. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"
#include "page.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	PER_PAGE = 100,
	TOP = 20,
	TEXT_MAX = 1024,
	CHART_W = 880,
	CHART_H = 120,
	BARS_MAX = 240, /* months; the older ones are left out of the chart */
};

/* Only hides rows; the page is complete without it. */
static const char script[] =
	"var q=document.getElementById('q');q.parentNode.hidden=false;"
	"q.addEventListener('input',function(){"
	"var w=q.value.toLowerCase(),r=document.querySelectorAll('tr.m'),i;"
	"for(i=0;i<r.length;i++)"
	"r[i].hidden=w!==''&&r[i].textContent.toLowerCase().indexOf(w)<0;});";

static const char style[] =
	":root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--dim:#59636e;--line:#d0d7de;"
	"--bar:#2f6f9f;--bad:#b3261e;--good:#1a7f37;--head:#f4f6f8}"
	"@media(prefers-color-scheme:dark){:root{--fg:#e6e9ec;--bg:#14171a;--dim:#9aa4ae;"
	"--line:#353c43;--bar:#6aa9d6;--bad:#ff8a80;--good:#6fcf87;--head:#1d2125}}"
	"body{font:15px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);"
	"max-width:76em;margin:2em auto;padding:0 1em}"
	"h1{font-size:1.5em;margin:0}h2{font-size:1.15em;margin:2em 0 .5em;"
	"border-bottom:1px solid var(--line)}h3{font-size:1em;margin:1.2em 0 .3em}"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2em .6em .2em 0;"
	"border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}"
	"thead th{background:var(--head);position:sticky;top:0;white-space:nowrap}td.n,th.n{text-align:right;"
	"font-variant-numeric:tabular-nums;white-space:nowrap}td.d{white-space:nowrap}"
	"dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em}dt{color:var(--dim)}"
	"dd{margin:0;overflow-wrap:anywhere}code{font-size:.85em;overflow-wrap:anywhere}"
	".bad{color:var(--bad);font-weight:600}.good{color:var(--good)}.dim{color:var(--dim)}"
	"svg{max-width:100%;height:auto}svg rect{fill:var(--bar)}svg text{fill:var(--dim);"
	"font-size:11px}nav a{margin-right:.6em}"
	"@media print{body{max-width:none;margin:0;font-size:10px}nav,.find{display:none}"
	"thead th{position:static}tr{break-inside:avoid}a{color:inherit;text-decoration:none}}";

/* ---- writing ---- */

/* Clean text that may hold anything HTML minds. */
static void put_html(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			putc(*s, f);
		}
}

static void put_text(FILE *f, const char *s)
{
	char clean[TEXT_MAX];

	put_html(f, text_clean(clean, sizeof(clean), s, strlen(s)));
}

/* A raw header field. */
static void put_header(FILE *f, const char *header)
{
	char shown[TEXT_MAX];

	put_html(f, cli_show(shown, sizeof(shown), header));
}

static void put_bytes(FILE *f, uint64_t n)
{
	char bytes[16];

	fprintf(f, "%s", text_bytes(bytes, n));
}

static void row(FILE *f, const char *name, const char *value)
{
	fprintf(f, "<dt>%s</dt><dd>", name);
	put_text(f, value);
	fprintf(f, "</dd>\n");
}

static void row_number(FILE *f, const char *name, uint64_t n, uint64_t bytes)
{
	fprintf(f, "<dt>%s</dt><dd>%" PRIu64 " (", name, n);
	put_bytes(f, bytes);
	fprintf(f, ")</dd>\n");
}

/* The browser runs this one script and no other. */
static void put_script_hash(FILE *f)
{
	struct facts facts = { 0 };
	struct facts_maker *fm;
	struct buf b = BUF_INIT(TEXT_MAX);

	facts_begin(&fm);
	facts_put(fm, script, sizeof(script) - 1);
	facts_end(&fm, &facts);
	text_base64(&b, facts.sha256, DIGEST);
	fprintf(f, "'sha256-%s'", buf_str(&b));
	buf_free(&b);
	facts_release(&facts);
}

/* ---- parts ---- */

static void head(struct page *p)
{
	FILE *f = p->f;

	fprintf(f,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
		"style-src 'unsafe-inline'; script-src ");
	put_script_hash(f);
	fprintf(f,
		"; base-uri 'none'; form-action 'none'\">\n"
		"<meta name=\"referrer\" content=\"no-referrer\">\n"
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		"<title>Archive ");
	put_text(f, p->path);
	fprintf(f, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>Archive ", style);
	put_text(f, p->path);
	fprintf(f, "</h1>\n<p class=\"dim\">");
	put_text(f, p->id);
	fprintf(f,
		"</p>\n<nav><a href=\"#seals\">Seals</a><a href=\"#months\">Months</a>"
		"<a href=\"#senders\">Senders</a><a href=\"#folders\">Folders</a>"
		"<a href=\"#anomalies\">Anomalies</a><a href=\"#messages\">Messages</a></nav>\n");
}

static void summary(struct page *p)
{
	char text[160];
	FILE *f = p->f;

	fprintf(f, "<h2>Summary</h2>\n<dl>\n");
	row_number(f, "Messages", p->messages, p->bytes);
	snprintf(text, sizeof(text), "%" PRIu64, p->unsealed);
	row(f, "Not sealed yet", text);
	fprintf(f, "<dt>On disk</dt><dd>");
	put_bytes(f, p->stored);
	fprintf(f, " in %zu segment%s</dd>\n", p->segments.n, text_s(p->segments.n));
	snprintf(text, sizeof(text), "%s to %s", p->first, p->last);
	row(f, "Dates", p->first[0] ? text : "none");
	row_number(f, "Same bytes once more", p->copies, p->copy_bytes);
	snprintf(text, sizeof(text), "%" PRIu64, p->odd);
	row(f, "With anomalies", text);
	if (p->verified[0])
		row(f, "Verified", p->verified);
	fprintf(f, "</dl>\n");
	if (!p->verified[0])
		fprintf(f,
			"<p class=\"dim\">This page tells what the archive says of itself. "
			"Whether that is true, <code>popferry verify</code> and the "
			"archive's own <code>VERIFY.sh</code> tell.</p>\n");
	if (p->damage) {
		fprintf(f, "<p class=\"bad\">Damaged: ");
		put_text(f, p->damage);
		fprintf(f, "</p>\n");
	}
}

/* time: when it was there, for a timestamp. */
static void mark(FILE *f, const struct sign_mark *m, int64_t time)
{
	char at[24];

	switch (m->verdict) {
	case SIGN_NONE:
		fprintf(f, "<td class=\"dim\">none</td>");
		return;
	case SIGN_BAD:
		fprintf(f, "<td class=\"bad\">wrong: ");
		put_text(f, m->why);
		break;
	case SIGN_TRUSTED:
	case SIGN_UNKNOWN:
		fprintf(f, "<td><span class=\"good\">right</span>%s%s, by ",
			time ? ", of " : "", time ? clock_rfc3339(at, time) : "");
		put_text(f, m->by);
		fprintf(f, "<br><code class=\"dim\">%s</code>", m->sha256);
		break;
	}
	fprintf(f, "</td>");
}

static void one_seal(FILE *f, const struct page_seal *s)
{
	fprintf(f, "<tr><td>");
	put_text(f, s->segment);
	fprintf(f, "<br><code class=\"dim\">root %s</code></td><td class=\"d\">",
		s->root);
	put_text(f, s->sealed_at);
	fprintf(f,
		"</td><td class=\"n\">%s\xe2\x80\x93%s</td><td class=\"n\">%s</td><td>",
		s->first, s->last, s->count);
	if (s->listed[0])
		fprintf(f, "listed %s, ", s->listed);
	if (s->stored[0])
		fprintf(f, "stored %s, ", s->stored);
	if (s->failed[0])
		fprintf(f, "<span%s>failed %s</span>",
			strcmp(s->failed, "0") == 0 ? "" : " class=\"bad\"", s->failed);
	else
		fprintf(f, "<span class=\"dim\">not told</span>");
	fprintf(f, "</td>");
	mark(f, &s->state.signature, 0);
	mark(f, &s->state.stamp, s->state.time);
	fprintf(f, "</tr>\n");
}

static void seals(struct page *p)
{
	FILE *f = p->f;
	size_t i;

	fprintf(f, "<h2 id=\"seals\">Seals</h2>\n");
	if (p->n_seals == 0) {
		fprintf(f, "<p>There are none.</p>\n");
		return;
	}
	fprintf(f,
		"<p class=\"dim\">\xe2\x80\x9cRight\xe2\x80\x9d: the signature or timestamp fits "
		"the seal. Whether its certificate is one to believe, "
		"<code>popferry seal --check --trust</code> tells.</p>\n"
		"<table><thead><tr><th>Segment</th><th>Sealed</th><th class=\"n\">Messages</th>"
		"<th class=\"n\">Count</th><th>The source</th><th>Signature</th>"
		"<th>Timestamp</th></tr></thead><tbody>\n");
	for (i = 0; i < p->n_seals; i++)
		one_seal(f, &p->seals[i]);
	fprintf(f, "</tbody></table>\n");
}

static void bars(FILE *f, const char *title, const struct sums *s, bool bytes)
{
	size_t from = s->n > BARS_MAX ? s->n - BARS_MAX : 0, n = s->n - from, i;
	uint64_t max = 1;
	double w = n ? (double)CHART_W / (double)n : 0;
	char label[24];

	for (i = from; i < s->n; i++) {
		uint64_t v = bytes ? s->list[i]->bytes : s->list[i]->messages;

		max = v > max ? v : max;
	}
	fprintf(f,
		"<h3>%s</h3>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n",
		title, CHART_W, CHART_H + 32, title);
	for (i = 0; i < n; i++) {
		uint64_t v = bytes ? s->list[from + i]->bytes
				   : s->list[from + i]->messages;
		double h = (double)v / (double)max * CHART_H;

		fprintf(f,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%s: ",
			(double)i * w, CHART_H + 12 - h, w > 2 ? w - 1 : w, h,
			s->list[from + i]->name);
		if (bytes)
			put_bytes(f, v);
		else
			fprintf(f, "%" PRIu64, v);
		fprintf(f, "</title></rect>\n");
	}
	if (bytes)
		text_bytes(label, max);
	else
		snprintf(label, sizeof(label), "%" PRIu64, max);
	fprintf(f, "<text x=\"0\" y=\"10\">at most %s</text>", label);
	if (n)
		fprintf(f,
			"<text x=\"0\" y=\"%d\">%s</text><text x=\"%d\" y=\"%d\" "
			"text-anchor=\"end\">%s</text>",
			CHART_H + 28, s->list[from]->name, CHART_W, CHART_H + 28,
			s->list[s->n - 1]->name);
	fprintf(f, "\n</svg>\n");
}

static void table(FILE *f, const char *id, const char *title, const char *column,
	const struct sums *s, size_t max)
{
	size_t i;

	fprintf(f, "<h2 id=\"%s\">%s</h2>\n", id, title);
	if (s->n == 0) {
		fprintf(f, "<p>None.</p>\n");
		return;
	}
	fprintf(f,
		"<table><thead><tr><th>%s</th><th class=\"n\">Messages</th>"
		"<th class=\"n\">Bytes</th></tr></thead><tbody>\n",
		column);
	for (i = 0; i < s->n && i < max; i++) {
		const char *name = s->list[i]->name;

		fprintf(f, "<tr><td>");
		put_text(f, *name ? name : "INBOX");
		fprintf(f, "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">",
			s->list[i]->messages);
		put_bytes(f, s->list[i]->bytes);
		fprintf(f, "</td></tr>\n");
	}
	fprintf(f, "</tbody></table>\n");
	if (s->n > max)
		fprintf(f, "<p class=\"dim\">and %zu more</p>\n", s->n - max);
}

/* ---- messages ---- */

static uint64_t to_list(const struct page *p)
{
	return p->messages < p->limit ? p->messages : p->limit;
}

static void pages(struct page *p)
{
	uint64_t n = to_list(p), i;

	fprintf(p->f, "<h2 id=\"messages\">Messages</h2>\n");
	if (n < p->messages)
		fprintf(p->f,
			"<p>The first %" PRIu64 " of %" PRIu64
			"; <code>popferry list</code> shows all.</p>\n",
			n, p->messages);
	fprintf(p->f,
		"<p class=\"find\"><label hidden>Show only rows with <input id=\"q\" "
		"type=\"search\" autocomplete=\"off\"></label></p>\n");
	if (n > PER_PAGE) {
		fprintf(p->f, "<nav>");
		for (i = 0; i < n; i += PER_PAGE)
			fprintf(p->f, "<a href=\"#p%" PRIu64 "\">%" PRIu64 "</a>",
				i / PER_PAGE + 1, i / PER_PAGE + 1);
		fprintf(p->f, "</nav>\n");
	}
}

static void page_break(struct page *p)
{
	if (p->listed)
		fprintf(p->f,
			"</tbody></table>\n<p class=\"find\"><a href=\"#messages\">"
			"All pages</a></p>\n");
	fprintf(p->f,
		"<table id=\"p%" PRIu64 "\"><thead><tr><th class=\"n\">No.</th>"
		"<th>Date</th><th class=\"n\">Bytes</th><th>Folder</th><th>From</th>"
		"<th>Subject</th><th>SHA-256</th></tr></thead><tbody>\n",
		p->listed / PER_PAGE + 1);
}

void page_message(struct page *p, const struct archive_row *r)
{
	FILE *f = p->f;

	if (p->listed == to_list(p))
		return;
	if (p->listed % PER_PAGE == 0)
		page_break(p);
	p->listed++;
	fprintf(f, "<tr class=\"m\"><td class=\"n\">%" PRIu64 "%s</td><td class=\"d\">",
		r->seq, r->sealed ? "" : "*");
	put_text(f, r->date);
	fprintf(f, "</td><td class=\"n\">%" PRIu64 "</td><td>", r->size);
	put_text(f, *r->folder ? r->folder : "INBOX");
	fprintf(f, "</td><td>");
	put_header(f, r->from);
	fprintf(f, "</td><td>");
	put_header(f, r->subject);
	fprintf(f, "</td><td><code class=\"dim\">%.16s</code></td></tr>\n", r->sha256);
}

void page_begin(struct page *p)
{
	sums_sort(&p->folders, false);
	sums_sort(&p->months, false);
	sums_sort(&p->senders, true);
	sums_sort(&p->anomalies, true);
	head(p);
	summary(p);
	seals(p);
	fprintf(p->f, "<h2 id=\"months\">By month</h2>\n");
	bars(p->f, "Messages", &p->months, false);
	bars(p->f, "Bytes", &p->months, true);
	table(p->f, "senders", "Largest senders", "From", &p->senders, TOP);
	table(p->f, "folders", "Folders", "Folder", &p->folders, SIZE_MAX);
	table(p->f, "anomalies", "Anomalies", "Kind", &p->anomalies, SIZE_MAX);
	pages(p);
}

void page_end(struct page *p)
{
	if (p->listed)
		fprintf(p->f, "</tbody></table>\n");
	fprintf(p->f,
		"<p class=\"dim\">Made by popferry " VERSION
		". A * marks what is not sealed yet.</p>\n<script>%s</script>\n"
		"</body>\n</html>\n",
		script);
}
