/*
 * SRTP's work through intel-ipsec-mb: what the library alone can do, as a bound for our figures.
 *
 * In C because the library's interface is macros over two structures, IMB_MGR and IMB_JOB, whose
 * layout changes from version to version: declared by hand in Rust they would be wrong in silence
 * with the next package, here the compiler reads the installed header. What Rust sees is four
 * functions and one plain structure.
 *
 * AES-CM: the synchronous burst calls, first all packets of the batch through AES-CTR, then all
 * through HMAC-SHA1 (the other way round to open). Keys are expanded and the HMAC pads hashed once.
 * AES-GCM: the direct calls, packet by packet; the library has nothing better for different keys.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>

#define BATCH 32
#define HEADER_LEN 12
#define ROC_LEN 4
#define SHA1_BLOCK 64
/* What the library writes of an HMAC-SHA1 tag unless asked for all 20 bytes. */
#define TAG_ROOM 12
#define GCM_TAG_LEN 16
#define ROUND_UP(n) (((n) + 63) & ~(size_t)63)

/* One packet of a batch; `sys.rs` has its twin. */
struct postern_packet {
    uint8_t *bytes;   /* a fixed header of 12 bytes, the payload, room for the tag and 4 bytes */
    uint64_t len;     /* header and payload; the tag not counted */
    uint64_t session; /* which of the engine's keys */
    uint64_t index;   /* 48 bits */
    uint32_t ssrc;
    uint32_t unused;
};
_Static_assert(sizeof(struct postern_packet) == 40, "the twin in sys.rs");
_Static_assert(offsetof(struct postern_packet, ssrc) == 32, "the twin in sys.rs");

/* Keys of one session as they stand in the Rust structure. */
struct postern_keys {
    uint8_t cipher[32];
    uint8_t auth[20];
    uint8_t salt[14];
    uint8_t unused[6];
};
_Static_assert(sizeof(struct postern_keys) == 72, "the twin in sys.rs");

struct session {
    DECLARE_ALIGNED(uint32_t schedule[60], 64);
    DECLARE_ALIGNED(uint8_t inner[20], 16);
    DECLARE_ALIGNED(uint8_t outer[20], 16);
    uint8_t salt[16];
};

struct gcm_session {
    DECLARE_ALIGNED(struct gcm_key_data key, 64); /* written with aligned stores */
    uint8_t salt[12];
};

struct postern_engine {
    IMB_JOB jobs[BATCH];
    uint8_t ivs[BATCH][16];
    uint8_t tags[BATCH][TAG_ROOM];
    IMB_MGR *manager;
    struct session *sessions;
    struct gcm_session *gcm_sessions;
    uint64_t key_len;
    uint64_t tag_len;
};

static void *zeroed(size_t len)
{
    void *memory = aligned_alloc(64, ROUND_UP(len));
    if (memory != NULL)
        memset(memory, 0, ROUND_UP(len));
    return memory;
}

void postern_engine_free(struct postern_engine *engine)
{
    if (engine == NULL)
        return;
    free_mb_mgr(engine->manager);
    free(engine->sessions);
    free(engine->gcm_sessions);
    free(engine);
}

static void half_hmac(IMB_MGR *manager, const uint8_t key[20], uint8_t pad, uint8_t state[20])
{
    uint8_t block[SHA1_BLOCK];
    memset(block, pad, sizeof block);
    for (int i = 0; i < 20; i++)
        block[i] ^= key[i];
    IMB_SHA1_ONE_BLOCK(manager, block, state);
}

static void set_keys(struct postern_engine *engine, const struct postern_keys *keys, uint64_t count)
{
    IMB_MGR *manager = engine->manager;
    DECLARE_ALIGNED(uint32_t unused[60], 64);
    for (uint64_t i = 0; i < count; i++) {
        if (engine->gcm_sessions != NULL) {
            struct gcm_session *session = &engine->gcm_sessions[i];
            memcpy(session->salt, keys[i].salt, 12);
            if (engine->key_len == 16)
                IMB_AES128_GCM_PRE(manager, keys[i].cipher, &session->key);
            else
                IMB_AES256_GCM_PRE(manager, keys[i].cipher, &session->key);
            continue;
        }
        struct session *session = &engine->sessions[i];
        memcpy(session->salt, keys[i].salt, 14);
        half_hmac(manager, keys[i].auth, 0x36, session->inner);
        half_hmac(manager, keys[i].auth, 0x5c, session->outer);
        if (engine->key_len == 16)
            IMB_AES_KEYEXP_128(manager, keys[i].cipher, session->schedule, unused);
        else
            IMB_AES_KEYEXP_256(manager, keys[i].cipher, session->schedule, unused);
    }
}

/* `tag_len` is 16 for GCM, else HMAC-SHA1's. NULL: no memory, or a CPU that the library refuses. */
struct postern_engine *postern_engine_new(const struct postern_keys *keys, uint64_t count,
                                          uint64_t key_len, uint64_t tag_len)
{
    struct postern_engine *engine = zeroed(sizeof *engine);
    if (engine == NULL)
        return NULL;
    engine->key_len = key_len;
    engine->tag_len = tag_len;
    engine->manager = alloc_mb_mgr(0);
    if (tag_len == GCM_TAG_LEN)
        engine->gcm_sessions = zeroed(count * sizeof *engine->gcm_sessions);
    else
        engine->sessions = zeroed(count * sizeof *engine->sessions);
    if (engine->manager == NULL || (engine->sessions == NULL && engine->gcm_sessions == NULL)) {
        postern_engine_free(engine);
        return NULL;
    }
    init_mb_mgr_auto(engine->manager, NULL);
    if (imb_get_errno(engine->manager) != 0) {
        postern_engine_free(engine);
        return NULL;
    }
    set_keys(engine, keys, count);
    return engine;
}

/* The ROC, which is authenticated behind the message and not sent (RFC 3711 section 4.2). */
static uint32_t roc_of(const struct postern_packet *packet)
{
    return __builtin_bswap32((uint32_t)(packet->index >> 16));
}

/* RFC 3711 section 4.1.1. */
static void counter_iv(const struct session *session, const struct postern_packet *packet,
                       uint8_t iv[16])
{
    uint64_t high, low;
    memcpy(&high, session->salt, 8);
    memcpy(&low, session->salt + 8, 8);
    high ^= __builtin_bswap64(packet->ssrc);
    low ^= __builtin_bswap64(packet->index << 16);
    memcpy(iv, &high, 8);
    memcpy(iv + 8, &low, 8);
}

static void fill_jobs(struct postern_engine *engine, const struct postern_packet *packets,
                      uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        const struct postern_packet *packet = &packets[i];
        const struct session *session = &engine->sessions[packet->session];
        IMB_JOB *job = &engine->jobs[i];
        counter_iv(session, packet, engine->ivs[i]);
        job->enc_keys = session->schedule;
        job->dec_keys = session->schedule;
        job->key_len_in_bytes = engine->key_len;
        job->src = packet->bytes;
        job->dst = packet->bytes + HEADER_LEN;
        job->cipher_start_src_offset_in_bytes = HEADER_LEN;
        job->msg_len_to_cipher_in_bytes = packet->len - HEADER_LEN;
        job->hash_start_src_offset_in_bytes = 0;
        job->msg_len_to_hash_in_bytes = packet->len + ROC_LEN;
        job->iv = engine->ivs[i];
        job->iv_len_in_bytes = 16;
        job->auth_tag_output = engine->tags[i];
        job->auth_tag_output_len_in_bytes = TAG_ROOM;
        job->u.HMAC._hashed_auth_key_xor_ipad = session->inner;
        job->u.HMAC._hashed_auth_key_xor_opad = session->outer;
        job->cipher_mode = IMB_CIPHER_CNTR;
        job->cipher_direction = IMB_DIR_ENCRYPT;
        job->hash_alg = IMB_AUTH_HMAC_SHA_1;
    }
}

static uint64_t cm_protect(struct postern_engine *engine, const struct postern_packet *packets,
                           uint64_t count)
{
    IMB_MGR *manager = engine->manager;
    fill_jobs(engine, packets, count);
    if (IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager, engine->jobs, (uint32_t)count, IMB_CIPHER_CNTR,
                                        IMB_DIR_ENCRYPT, engine->key_len) != count)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t roc = roc_of(&packets[i]);
        memcpy(packets[i].bytes + packets[i].len, &roc, ROC_LEN);
    }
    if (IMB_SUBMIT_HASH_BURST_NOCHECK(manager, engine->jobs, (uint32_t)count,
                                      IMB_AUTH_HMAC_SHA_1) != count)
        return 0;
    for (uint64_t i = 0; i < count; i++)
        memcpy(packets[i].bytes + packets[i].len, engine->tags[i], engine->tag_len);
    return count;
}

static uint64_t cm_open(struct postern_engine *engine, const struct postern_packet *packets,
                        uint64_t count)
{
    IMB_MGR *manager = engine->manager;
    uint8_t received[BATCH][TAG_ROOM];
    uint8_t difference = 0;
    fill_jobs(engine, packets, count);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t roc = roc_of(&packets[i]);
        memcpy(received[i], packets[i].bytes + packets[i].len, engine->tag_len);
        memcpy(packets[i].bytes + packets[i].len, &roc, ROC_LEN);
    }
    if (IMB_SUBMIT_HASH_BURST_NOCHECK(manager, engine->jobs, (uint32_t)count,
                                      IMB_AUTH_HMAC_SHA_1) != count)
        return 0;
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t j = 0; j < engine->tag_len; j++)
            difference |= received[i][j] ^ engine->tags[i][j];
    if (difference != 0)
        return 0;
    return IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager, engine->jobs, (uint32_t)count,
                                           IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT, engine->key_len);
}

/* RFC 7714 section 8.1: two zero bytes, the SSRC and the index, XORed with the salt. In whole
 * words, so that the library's load doesn't wait for several small stores. */
static void gcm_iv(const struct gcm_session *session, const struct postern_packet *packet,
                   uint8_t iv[12])
{
    uint64_t high;
    uint32_t low;
    memcpy(&high, session->salt, 8);
    memcpy(&low, session->salt + 8, 4);
    high ^= __builtin_bswap64((uint64_t)packet->ssrc << 16 | packet->index >> 32);
    low ^= __builtin_bswap32((uint32_t)packet->index);
    memcpy(iv, &high, 8);
    memcpy(iv + 8, &low, 4);
}

static uint64_t gcm(struct postern_engine *engine, const struct postern_packet *packets,
                    uint64_t count, aes_gcm_enc_dec_t work, int opening)
{
    uint8_t difference = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct postern_packet *packet = &packets[i];
        const struct gcm_session *session = &engine->gcm_sessions[packet->session];
        uint8_t *body = packet->bytes + HEADER_LEN;
        uint8_t *tag = packet->bytes + packet->len;
        struct gcm_context_data context;
        uint8_t iv[12], computed[GCM_TAG_LEN];
        gcm_iv(session, packet, iv);
        work(&session->key, &context, body, body, packet->len - HEADER_LEN, iv, packet->bytes,
             HEADER_LEN, opening ? computed : tag, GCM_TAG_LEN);
        if (opening)
            for (int j = 0; j < GCM_TAG_LEN; j++)
                difference |= tag[j] ^ computed[j];
    }
    return difference == 0 ? count : 0;
}

/* Both answer how many packets were done: `count`, or 0 if the library or any tag refused. */
uint64_t postern_protect(struct postern_engine *engine, const struct postern_packet *packets,
                         uint64_t count)
{
    if (engine->gcm_sessions == NULL)
        return cm_protect(engine, packets, count);
    return gcm(engine, packets, count,
               engine->key_len == 16 ? engine->manager->gcm128_enc : engine->manager->gcm256_enc, 0);
}

uint64_t postern_open(struct postern_engine *engine, const struct postern_packet *packets,
                      uint64_t count)
{
    if (engine->gcm_sessions == NULL)
        return cm_open(engine, packets, count);
    return gcm(engine, packets, count,
               engine->key_len == 16 ? engine->manager->gcm128_dec : engine->manager->gcm256_dec, 1);
}
