/*
 * A PKCS#11 module that stands between custody and a real one and makes
 * trouble on request. For tests only; compiled by hufu_keys::testing.
 *
 * The real module is named by HUFU_FAULTS_MODULE, the control file by
 * HUFU_FAULTS_CONTROL. The control file is an array of 64 native 64-bit
 * numbers, mapped and shared: the test writes the knobs (0..31) and reads the
 * meters (32..63) while the module runs. Knobs are named in faults.rs.
 *
 * The function list is treated as what PKCS#11 2.40 says it is: a version and
 * 68 pointers in a fixed order, so that no vendor header is needed.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long ck;
typedef struct { ck type; void *value; ck length; } attribute;
typedef struct { ck slot, state, flags, device_error; } session_info;
struct functions { unsigned char version[2]; void *at[68]; };

enum {
    INITIALIZE = 0, FINALIZE = 1, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4,
    GET_TOKEN_INFO = 6, OPEN_SESSION = 12, CLOSE_SESSION = 13,
    CLOSE_ALL_SESSIONS = 14, GET_SESSION_INFO = 15, LOGIN = 18, LOGOUT = 19,
    GET_ATTRIBUTE_VALUE = 24, FIND_OBJECTS_INIT = 26, FIND_OBJECTS = 27,
    FIND_OBJECTS_FINAL = 28, SIGN_INIT = 42, SIGN = 43, GENERATE_KEY_PAIR = 59
};
enum {
    SIGN_CODE, SIGN_TIMES, SIGN_DELAY_MICROS, SESSION_LIMIT, CLOSE_ALL, LOG_OUT,
    LOGIN_CODE, LOGIN_TIMES, OPEN_CODE, OPEN_TIMES, HANG, UNPLUGGED, SPOIL,
    WEAKEN, NUL_LABELS,
    LOGINS = 32, INITIALISATIONS, FINALISATIONS, SIGNATURES, SEARCHES, SESSIONS,
    MOST_SESSIONS, DOUBLE_INITIALISATIONS
};
enum { CKR_TOKEN_NOT_PRESENT = 0xE0, CKR_SESSION_COUNT = 0xB1, CKR_GENERAL = 5 };
enum { CKA_EXTRACTABLE = 0x162 };

static struct functions *real;
static struct functions ours;
static volatile uint64_t *control;
static int initialised;
/* Held for writing while sessions are torn down, so that the real module is
 * never inside a call on a session that goes: the fault is the lost session,
 * not a race inside the module. */
static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;

#define REAL(number, ...) ((ck (*)(__VA_ARGS__))real->at[number])
#define ENTER pthread_rwlock_rdlock(&gate)
#define LEAVE(result) do { ck r_ = (result); pthread_rwlock_unlock(&gate); return r_; } while (0)

static void count(int meter, int64_t by) {
    uint64_t now = __atomic_add_fetch((uint64_t *)&control[meter], (uint64_t)by, __ATOMIC_SEQ_CST);
    if (meter == SESSIONS && now > control[MOST_SESSIONS]) control[MOST_SESSIONS] = now;
}

/* Takes one of the times that a knob still has. */
static int due(int times) {
    uint64_t left = control[times];
    while (left > 0) {
        if (left == UINT64_MAX) return 1;
        if (__atomic_compare_exchange_n((uint64_t *)&control[times], &left, left - 1, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 1;
    }
    return 0;
}

static int taken(int knob) {
    return __atomic_exchange_n((uint64_t *)&control[knob], 0, __ATOMIC_SEQ_CST) != 0;
}

static ck initialize(void *arguments) {
    count(INITIALISATIONS, 1);
    if (initialised) count(DOUBLE_INITIALISATIONS, 1);
    ck result = REAL(INITIALIZE, void *)(arguments);
    if (result == 0) initialised = 1;
    return result;
}

static ck finalize(void *reserved) {
    pthread_rwlock_wrlock(&gate);
    initialised = 0;
    control[SESSIONS] = 0;
    ck result = REAL(FINALIZE, void *)(reserved);
    count(FINALISATIONS, 1);
    LEAVE(result);
}

static ck get_slot_list(unsigned char present, ck *slots, ck *number) {
    if (control[UNPLUGGED]) { *number = 0; return 0; }
    ENTER;
    LEAVE(REAL(GET_SLOT_LIST, unsigned char, ck *, ck *)(present, slots, number));
}

static ck get_token_info(ck slot, void *info) {
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    ENTER;
    ck result = REAL(GET_TOKEN_INFO, ck, void *)(slot, info);
    unsigned char *label = info;
    /* label is the first member: 32 octets. */
    if (result == 0 && control[NUL_LABELS])
        for (int i = 31; i >= 0 && label[i] == ' '; i--) label[i] = 0;
    LEAVE(result);
}

static ck open_session(ck slot, ck flags, void *a, void *b, ck *session) {
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    if (due(OPEN_TIMES)) return control[OPEN_CODE];
    if (control[SESSION_LIMIT] && control[SESSIONS] >= control[SESSION_LIMIT]) return CKR_SESSION_COUNT;
    ENTER;
    ck result = REAL(OPEN_SESSION, ck, ck, void *, void *, ck *)(slot, flags, a, b, session);
    if (result == 0) count(SESSIONS, 1);
    LEAVE(result);
}

static ck close_session(ck session) {
    ENTER;
    ck result = REAL(CLOSE_SESSION, ck)(session);
    if (result == 0) count(SESSIONS, -1);
    LEAVE(result);
}

static ck get_session_info(ck session, void *info) {
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    ENTER;
    LEAVE(REAL(GET_SESSION_INFO, ck, void *)(session, info));
}

static ck login(ck session, ck user, void *pin, ck length) {
    count(LOGINS, 1);
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    if (due(LOGIN_TIMES)) return control[LOGIN_CODE];
    ENTER;
    LEAVE(REAL(LOGIN, ck, ck, void *, ck)(session, user, pin, length));
}

static ck get_attribute_value(ck session, ck object, void *template, ck number) {
    ENTER;
    LEAVE(REAL(GET_ATTRIBUTE_VALUE, ck, ck, void *, ck)(session, object, template, number));
}

static ck find_objects_init(ck session, void *template, ck number) {
    count(SEARCHES, 1);
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    ENTER;
    LEAVE(REAL(FIND_OBJECTS_INIT, ck, void *, ck)(session, template, number));
}

static ck find_objects(ck session, ck *objects, ck most, ck *number) {
    ENTER;
    LEAVE(REAL(FIND_OBJECTS, ck, ck *, ck, ck *)(session, objects, most, number));
}

static ck find_objects_final(ck session) {
    ENTER;
    LEAVE(REAL(FIND_OBJECTS_FINAL, ck)(session));
}

static ck sign_init(ck session, void *mechanism, ck key) {
    session_info info;
    if (taken(CLOSE_ALL)) {
        pthread_rwlock_wrlock(&gate);
        if (REAL(GET_SESSION_INFO, ck, void *)(session, &info) == 0
            && REAL(CLOSE_ALL_SESSIONS, ck)(info.slot) == 0) control[SESSIONS] = 0;
        pthread_rwlock_unlock(&gate);
    }
    if (taken(LOG_OUT)) {
        /* By a session of its own: login belongs to the process. */
        ck other;
        pthread_rwlock_wrlock(&gate);
        if (REAL(GET_SESSION_INFO, ck, void *)(session, &info) == 0
            && REAL(OPEN_SESSION, ck, ck, void *, void *, ck *)(info.slot, 4, 0, 0, &other) == 0) {
            REAL(LOGOUT, ck)(other);
            REAL(CLOSE_SESSION, ck)(other);
        }
        pthread_rwlock_unlock(&gate);
    }
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    ENTER;
    LEAVE(REAL(SIGN_INIT, ck, void *, ck)(session, mechanism, key));
}

static ck sign(ck session, void *data, ck length, unsigned char *signature, ck *signature_length) {
    if (control[UNPLUGGED]) return CKR_TOKEN_NOT_PRESENT;
    if (signature) {
        while (control[HANG]) usleep(500);
        if (control[SIGN_DELAY_MICROS]) usleep(control[SIGN_DELAY_MICROS]);
        count(SIGNATURES, 1);
        if (due(SIGN_TIMES)) {
            /* The operation ends with an error, as the standard has it. */
            ENTER;
            REAL(SIGN, ck, void *, ck, unsigned char *, ck *)(session, data, length, signature, signature_length);
            LEAVE(control[SIGN_CODE]);
        }
    }
    if (control[SPOIL] == 3 && !signature) {
        *signature_length = 72;
        return 0;
    }
    ENTER;
    ck result = REAL(SIGN, ck, void *, ck, unsigned char *, ck *)(session, data, length, signature, signature_length);
    if (result == 0 && signature && control[SPOIL] == 3 && *signature_length == 64) {
        unsigned char fixed[64], *out = signature + 2;
        memcpy(fixed, signature, 64);
        for (int half = 0; half < 2; half++) {
            unsigned char *from = fixed + 32 * half;
            int skip = 0, pad;
            while (skip < 31 && from[skip] == 0) skip++;
            pad = from[skip] >= 0x80;
            *out++ = 2;
            *out++ = (unsigned char)(32 - skip + pad);
            if (pad) *out++ = 0;
            memcpy(out, from + skip, 32 - skip);
            out += 32 - skip;
        }
        signature[0] = 0x30;
        signature[1] = (unsigned char)(out - signature - 2);
        *signature_length = out - signature;
    }
    if (result == 0 && signature) {
        if (control[SPOIL] == 1) *signature_length -= 1;
        if (control[SPOIL] == 2) memset(signature, 0, *signature_length);
    }
    LEAVE(result);
}

static ck generate_key_pair(ck session, void *mechanism, attribute *public_template, ck public_number,
                            attribute *private_template, ck private_number, ck *public_key, ck *private_key) {
    if (control[WEAKEN])
        for (ck i = 0; i < private_number; i++)
            if (private_template[i].type == CKA_EXTRACTABLE) *(unsigned char *)private_template[i].value = 1;
    ENTER;
    LEAVE(REAL(GENERATE_KEY_PAIR, ck, void *, attribute *, ck, attribute *, ck, ck *, ck *)(
        session, mechanism, public_template, public_number, private_template, private_number, public_key, private_key));
}

__attribute__((visibility("default"))) ck C_GetFunctionList(struct functions **list);

static int load(void) {
    const char *path = getenv("HUFU_FAULTS_MODULE"), *file = getenv("HUFU_FAULTS_CONTROL");
    if (!path || !file) return 0;
    int descriptor = open(file, O_RDWR);
    if (descriptor < 0) return 0;
    control = mmap(0, 64 * 8, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (control == MAP_FAILED) return 0;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    ck (*list)(struct functions **) = (ck (*)(struct functions **))dlsym(library, "C_GetFunctionList");
    if (!list || list(&real) != 0) return 0;
    ours = *real;
    ours.at[INITIALIZE] = (void *)initialize;
    ours.at[FINALIZE] = (void *)finalize;
    ours.at[GET_FUNCTION_LIST] = (void *)C_GetFunctionList;
    ours.at[GET_SLOT_LIST] = (void *)get_slot_list;
    ours.at[GET_TOKEN_INFO] = (void *)get_token_info;
    ours.at[OPEN_SESSION] = (void *)open_session;
    ours.at[CLOSE_SESSION] = (void *)close_session;
    ours.at[GET_SESSION_INFO] = (void *)get_session_info;
    ours.at[LOGIN] = (void *)login;
    ours.at[GET_ATTRIBUTE_VALUE] = (void *)get_attribute_value;
    ours.at[FIND_OBJECTS_INIT] = (void *)find_objects_init;
    ours.at[FIND_OBJECTS] = (void *)find_objects;
    ours.at[FIND_OBJECTS_FINAL] = (void *)find_objects_final;
    ours.at[SIGN_INIT] = (void *)sign_init;
    ours.at[SIGN] = (void *)sign;
    ours.at[GENERATE_KEY_PAIR] = (void *)generate_key_pair;
    return 1;
}

ck C_GetFunctionList(struct functions **list) {
    if (!real && !load()) return CKR_GENERAL;
    *list = &ours;
    return 0;
}
