# What a run tells of itself in its archive, as an auditor reads it with stock tools.
# shellcheck shell=sh

test_told() {
	sealed_archive
	check 'each seal has one retrieval' test "$(grep -c '"event":"retrieve"' \
		arc/log/custody.jsonl)" -eq "$(find arc/seals -name '*.json' | wc -l)"
	pf 0 verify arc
	openssl x509 -in "$RIG/ca/good.pem" -outform DER | sha256sum | cut -c 1-64 >cert
	python3 - <<'P'
import csv, glob, hashlib, io, json, tarfile
fates = ['left', 'known', 'stored', 'duplicate', 'filtered', 'failed', 'vanished']
seals = sorted(glob.glob('arc/seals/*.seal.json'))
for name in seals:
    seal = json.load(open(name))
    told = seal['reconcile']
    with tarfile.open('arc/segments/' + seal['segment']['name']) as tar:
        bag = seal['segment']['name'].split('.')[0] + '/metadata/'
        text = lambda f: tar.extractfile(bag + f).read()
        server, listing, errors = text('server.json'), text('listing.tsv'), text('errors.csv')
    what = json.loads(server)
    assert server == json.dumps(what, sort_keys=True, separators=(',', ':'),
                                ensure_ascii=False).encode() + b'\n'
    assert what['reconcile'] == told and what['account'].startswith('pop3:')
    said = what['server']
    assert said['tls']['sha256'] == open('cert').read().strip(), said
    assert said['tls']['version'].startswith('TLSv1.') and said['tls']['cipher']
    assert 'UIDL' in said['capa'] and said['greeting'] and said['port']
    rows = [line.split('\t') for line in listing.decode().splitlines()]
    assert rows.pop(0) == ['number', 'fate', 'seq', 'size', 'uidl']
    plain = ''.join(f'{r[0]}\t{r[3]}\t{r[4]}\n' for r in rows)
    assert hashlib.sha256(plain.encode()).hexdigest() == told['uidl_sha256']
    for fate in fates:
        assert told[fate] == sum(r[1] == fate for r in rows), fate
    assert told['listed'] == sum(told[f] for f in fates) == told['stat_count'] == len(rows)
    assert told['octets'] == sum(int(r[3]) for r in rows) == told['stat_octets']
    stored = sorted(int(r[2]) for r in rows if r[1] == 'stored')
    assert stored == list(range(seal['range']['first'], seal['range']['last'] + 1))
    assert list(csv.DictReader(io.StringIO(errors.decode()))) == []
assert told['known'] == 0 or len(seals) > 1
P
	n=$(wc -l <arc/log/custody.jsonl)
	seals=$(ls arc/seals | wc -l)
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none
	check 'no new segment' test "$(ls arc/seals | wc -l)" -eq "$seals"
	check 'one event more' test "$(wc -l <arc/log/custody.jsonl)" -eq $((n + 1))
	check 'with what was known' grep -q '"known":[1-9].*"event":"retrieve".*"object":"pop3:' \
		arc/log/custody.jsonl
	copy 0 "$(url_pop3s "$src")" archive:arc --dedup none --delete verified
	check 'what is deleted is told' \
		grep -q '"seqs":"[0-9].*"event":"delete.server"' arc/log/custody.jsonl
	audit 0
}
