/*
 * pkcs11.c: a key that never leaves its token.
 *
 * OpenSSL 3 finds it by a provider for pkcs11: URIs that openssl.cnf loads; where
 * there is none, as on Debian 12, by the engine of libp11. Engines are deprecated, and
 * OpenSSL 4 has none: this file alone knows of them.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "own.h"

#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#ifndef OPENSSL_NO_ENGINE
#	include <openssl/engine.h>
#endif

static EVP_PKEY *from_provider(const char *uri, UI_METHOD *ui, void *ctx)
{
	OSSL_STORE_CTX *s = OSSL_STORE_open(uri, ui, ctx, NULL, NULL);
	EVP_PKEY *key = NULL;

	while (s && !key && !OSSL_STORE_eof(s)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(s);

		if (!info && OSSL_STORE_error(s))
			break;
		if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	if (s)
		OSSL_STORE_close(s);
	return key;
}

#ifndef OPENSSL_NO_ENGINE
static EVP_PKEY *from_engine(
	const char *uri, UI_METHOD *ui, void *ctx, const char **why)
{
	EVP_PKEY *key = NULL;
	ENGINE *e;

	ENGINE_load_builtin_engines();
	e = ENGINE_by_id("pkcs11");
	if (!e || ENGINE_init(e) != 1) {
		ENGINE_free(e);
		return NULL;
	}
	*why = "the token does not give it: is it there, and the PIN right?";
	key = ENGINE_load_private_key(e, uri, ui, ctx);
	ENGINE_finish(e); /* the key holds on to it */
	ENGINE_free(e);
	return key;
}
#endif

EVP_PKEY *pkcs11_key(const char *uri, pem_password_cb *ask, void *ctx, const char **why)
{
	UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(ask, 0);
	EVP_PKEY *key;

	*why = "OpenSSL has neither a provider nor the engine for PKCS#11; install "
	       "pkcs11-provider or libengine-pkcs11-openssl";
	key = from_provider(uri, ui, ctx);
#ifndef OPENSSL_NO_ENGINE
	if (!key)
		key = from_engine(uri, ui, ctx, why);
#endif
	UI_destroy_method(ui);
	ERR_clear_error();
	return key;
}
