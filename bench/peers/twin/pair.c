// pair serve|drive DIR [DEPTH SECONDS]: requests and answers through the two channels alone, both ends looking all the time; no I/O
#include "common.h"
int main(int argc, char **argv) {
	if (argc < 3) die("usage");
	const char *dir = argv[2]; int drive = !strcmp(argv[1], "drive"); size_t ql = 32768, pl = 16384;
	u8 *rq = map(dir, "req", &ql, !drive), *rp = map(dir, "resp", &pl, !drive); struct wr w; struct rd r = {0}; static struct req q[64]; static struct rsp p[64];
	if (!drive) {
		w_init(&w, rp, pl, P_RSP, 16); r = (struct rd){ .h = (void*)rq, .d = rq + 64, .size = 32, .proto = P_REQ, .len = ql };
		for (;;) {
			int k;
			if (!r.epoch || (k = r_batch(&r, q, 64)) < 0) { if (r.epoch && !LDA(&r.h->epoch)) return 0; if (!r_sync(&r)) usleep(100); continue; }
			if (!k) { __builtin_ia32_pause(); continue; }
			for (int i = 0; i < k; i++) { struct rsp *x = w_next(&w); x->kind = q[i].kind; x->dev = q[i].dev; x->tag = q[i].tag; x->status = q[i].off - q[i].off; }
			w_publish(&w);
		}
	}
	u32 depth = atoi(argv[3]); double secs = atof(argv[4]); u64 n = 0, inf = 0;
	w_init(&w, rq, ql, P_REQ, 32); r = (struct rd){ .h = (void*)rp, .d = rp + 64, .size = 16, .proto = P_RSP, .len = pl };
	while (!r_sync(&r)) usleep(100);
	r.rc = LDA(&r.h->wc); usleep(20000);
	u64 t0 = ns(), t1 = t0 + secs * 1e9;
	#define RQ(t) do { struct req *x = w_next(&w); x->kind = K_READ; x->dev = 0; x->tag = t; x->len = 4096; x->off = n; x->buf = (u64)(t) << 12; inf++; } while (0)
	for (u32 i = 0; i < depth; i++) RQ(i);
	w_publish(&w);
	for (u64 rounds = 0, go = 1; inf; rounds++) {
		int k = r_batch(&r, p, 64); if (k < 0) die("channel");
		if (!(rounds & 63)) go = ns() < t1;
		if (!k) { __builtin_ia32_pause(); continue; }
		for (int i = 0; i < k; i++) { n++; inf--; if (p[i].status) die("status"); if (go) RQ(p[i].tag); }
		if (w.pend) w_publish(&w);
	}
	STR(&w.h->epoch, 0);
	printf("{\"depth\":%u,\"packets\":%.0f}\n", depth, n / ((ns() - t0) / 1e9));
	return 0;
}
