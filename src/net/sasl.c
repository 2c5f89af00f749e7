/* sasl.c: what is sent to prove who we are. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/text.h>

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

bool sasl_plain(const char *user, const char *password, struct buf *out)
{
	size_t u = strlen(user), p = strlen(password), n = u + p + 2;
	char *raw = xmalloc(n);
	bool ok;

	raw[0] = '\0';
	memcpy(raw + 1, user, u);
	raw[u + 1] = '\0';
	memcpy(raw + u + 2, password, p);
	ok = text_base64(out, raw, n);
	explicit_bzero(raw, n);
	free(raw);
	return ok;
}

/* "<local@domain>" of visible ASCII. */
static bool is_stamp(const char *s)
{
	size_t n = strlen(s), i;
	const char *at = strchr(s, '@');

	if (n < 5 || s[0] != '<' || s[n - 1] != '>')
		return false;
	for (i = 1; i + 1 < n; i++)
		if (s[i] <= ' ' || s[i] > '~' || s[i] == '<' || s[i] == '>')
			return false;
	return at && at > s + 1 && at < s + n - 2;
}

bool apop_digest(const char *stamp, const char *password, char out[33])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_MD_CTX *ctx;
	bool ok;

	if (!is_stamp(stamp))
		return false;
	ctx = EVP_MD_CTX_new();
	ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
		EVP_DigestUpdate(ctx, stamp, strlen(stamp)) == 1 &&
		EVP_DigestUpdate(ctx, password, strlen(password)) == 1 &&
		EVP_DigestFinal_ex(ctx, md, &n) == 1 && n == 16;
	EVP_MD_CTX_free(ctx);
	if (ok)
		text_hex(out, md, 16);
	return ok;
}
