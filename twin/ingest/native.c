/* The innermost loops of ingest. Each has its double in Python beside it, which decides: whatever is not plain here is
 * left to that one, so a loop may refuse anything, but what it takes it must take exactly as the other would.
 *
 * No function keeps anything, allocates anything, or reads a byte outside [data, data + size).
 */

#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define EXACT (UINT64_C(1) << 53) /* integers below are doubles to the last bit */
#define NOT_ACCOUNTABLE (-1)      /* boot of a sender that does not count */
#define DIGITS 18                 /* of a number at most: they fit 64 bits */

static const double POWERS[DIGITS + 1] = {1e0, 1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                          1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};

static inline int is_digit(uint8_t byte) { return (uint8_t)(byte - '0') <= 9; }

/* Digits from p on, taken on to `mantissa` (of too many it is of no use, and the caller sees how many there were). Eight at
 * a time: D. Lemire, "Quickly parsing eight digits" (2018). */
static inline const uint8_t *digits_of(const uint8_t *p, const uint8_t *end, uint64_t *mantissa) {
    uint64_t found = *mantissa;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (end - p >= 8) {
        uint64_t eight;
        memcpy(&eight, p, 8);
        if (((eight & (eight + UINT64_C(0x0606060606060606))) & UINT64_C(0xF0F0F0F0F0F0F0F0)) != UINT64_C(0x3030303030303030))
            break;
        eight = ((eight & UINT64_C(0x0F0F0F0F0F0F0F0F)) * 2561) >> 8;
        eight = ((eight & UINT64_C(0x00FF00FF00FF00FF)) * 6553601) >> 16;
        found = found * 100000000 + (((eight & UINT64_C(0x0000FFFF0000FFFF)) * UINT64_C(42949672960001)) >> 32);
        p += 8;
    }
#endif
    while (p < end && is_digit(*p)) found = found * 10 + (uint64_t)(*p++ - '0');
    *mantissa = found;
    return p;
}

/* The number that begins at p, without exponent: where it ends, or NULL. Two exact numbers, one division: the double is
 * the one that strtod gives. */
static inline const uint8_t *number(const uint8_t *p, const uint8_t *end, double *value, int *whole) {
    const int negative = p < end && *p == '-';
    p += negative;
    const uint8_t *const first = p;
    uint64_t mantissa = 0;
    p = digits_of(p, end, &mantissa);
    int64_t digits = p - first, places = 0;
    if (digits == 0 || (digits > 1 && *first == '0')) return NULL;
    *whole = !negative;
    if (p < end && *p == '.') {
        const uint8_t *const point = ++p;
        while (p < end && is_digit(*p)) mantissa = mantissa * 10 + (uint64_t)(*p++ - '0');
        places = p - point;
        digits += places;
        *whole = 0;
        if (places == 0) return NULL;
    }
    if (digits > DIGITS || mantissa >= EXACT) return NULL;
    const double size = places ? (double)mantissa / POWERS[places] : (double)mantissa;
    *value = negative ? -size : size;
    return p;
}

/* The same of a number in CBOR: an integer, or a float of four or eight bytes. */
static inline const uint8_t *cbor_number(const uint8_t *p, const uint8_t *end, double *value, int *whole) {
    if (p == end) return NULL;
    const uint8_t first = *p++;
    const int info = first & 31;
    if (first >> 5 > 1 && first != 0xFA && first != 0xFB) return NULL;
    const int64_t more = info < 24 ? 0 : info < 28 ? INT64_C(1) << (info - 24) : 9;
    if (end - p < more) return NULL;
    uint64_t bits = info < 24 ? (uint64_t)info : 0;
    if (more > 8) return NULL;
    for (int64_t i = 0; i < more; i++) bits = bits << 8 | *p++;
    *whole = first >> 5 == 0;
    if (first >> 5 <= 1) {
        if (bits >= EXACT) return NULL;
        *value = first >> 5 ? -1.0 - (double)bits : (double)bits;
    } else if (first == 0xFB) {
        memcpy(value, &bits, sizeof *value);
    } else {
        const uint32_t half = (uint32_t)bits;
        float small;
        memcpy(&small, &half, sizeof small);
        *value = small;
    }
    return *value - *value == 0.0 ? p : NULL; /* neither infinite nor none */
}

/* Messages of one program (twin/ingest/template.py): lead, the device's own name, then texts with a number between any
 * two. `texts` holds the `numbers` + 1 texts one behind the other, `ends` where each ends. Number i goes to
 * value[place[i] * across + message * along]; where whole[i], it must be one. good: whether a message fits. `cbor`: how
 * numbers are written. */
EXPORT void cw_fit(int32_t cbor, const uint8_t *data, int64_t size, int64_t n, const int64_t *start, const int64_t *stop,
                   const int64_t *name_at, const int64_t *name_length, const uint8_t *lead, int64_t lead_length,
                   const uint8_t *texts, const int64_t *ends, int64_t numbers, const int64_t *place,
                   const uint8_t *whole, double *value, int64_t across, int64_t along, uint8_t *good) {
    for (int64_t message = 0; message < n; message++) {
        good[message] = 0;
        if (start[message] < 0 || start[message] > stop[message] || stop[message] > size) continue;
        const uint8_t *p = data + start[message], *const end = data + stop[message];
        if (name_at) {
            const int64_t length = name_length[message], at = name_at[message];
            if (length < 0 || at < 0 || length > size - at || end - p < lead_length + length) continue;
            if (memcmp(p, lead, (size_t)lead_length) != 0) continue;
            p += lead_length;
            if (memcmp(p, data + at, (size_t)length) != 0) continue;
            p += length;
        }
        double *const out = value + message * along;
        int64_t i = 0, text = 0;
        for (;; i++) {
            const int64_t length = ends[i] - text;
            if (end - p < length) break;
            if (length == 1 ? *p != texts[text] : memcmp(p, texts + text, (size_t)length) != 0) break;
            p += length;
            text = ends[i];
            if (i == numbers) {
                good[message] = p == end;
                break;
            }
            int is_whole;
            p = cbor ? cbor_number(p, end, out + place[i] * across, &is_whole)
                     : number(p, end, out + place[i] * across, &is_whole);
            if (!p || (whole[i] && !is_whole)) break;
        }
    }
}

/* PUBLISH packets of QoS 0 and 1 one behind the other, from `at` on, up to `room`: how many. Four bounds of each (topic,
 * its end, payload, its end) go into rows of `room`; packet ids into `ids`, 2 bytes each, `known` of them; `after` is
 * where they end. Ends before anything else: another packet, an incomplete one, one that is no MQTT. */
EXPORT int64_t cw_publishes(const uint8_t *data, int64_t size, int64_t at, int32_t five, int64_t longest, int64_t room,
                            int64_t *bounds, uint8_t *ids, int64_t *known, int64_t *after) {
    int64_t count = 0;
    *known = 0;
    while (count < room && at >= 0 && at < size) {
        const uint8_t first = data[at];
        if ((first & 0xF4) != 0x30) break;
        int64_t length = 0, body = at + 1;
        int shift = 0, done = 0;
        while (body < size && shift < 28) {
            const uint8_t byte = data[body++];
            length |= (int64_t)(byte & 127) << shift;
            shift += 7;
            if (byte < 128) {
                done = 1;
                break;
            }
        }
        if (!done || length > longest || length < 2 || length > size - body) break;
        const int64_t end = body + length;
        const int64_t topic_end = body + 2 + ((int64_t)data[body] << 8 | data[body + 1]);
        int64_t cut = topic_end + (first & 2 ? 2 : 0);
        if (cut > end) break;
        if (five) {
            if (cut >= end || data[cut] > 127) break;
            cut += 1 + data[cut];
            if (cut > end) break;
        }
        if (first & 2) {
            ids[2 * *known] = data[topic_end];
            ids[2 * *known + 1] = data[topic_end + 1];
            ++*known;
        }
        bounds[count] = body + 2;
        bounds[room + count] = topic_end;
        bounds[2 * room + count] = cut;
        bounds[3 * room + count] = end;
        count++;
        at = end;
    }
    *after = at;
    return count;
}

static inline uint64_t word(const uint8_t *p, int64_t length) {
    uint64_t found = 0;
    for (int64_t i = 0; i < length && i < 8; i++) found |= (uint64_t)p[i] << 8 * i;
    return found;
}

static inline uint64_t whole_word(const uint8_t *p) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t found;
    memcpy(&found, p, 8);
    return found;
#else
    return word(p, 8);
#endif
}

/* Topics to numbers by the table of twin/ingest/index.py; -1 where one is not found. `width` words a text. */
EXPORT void cw_numbers(const uint8_t *data, int64_t size, int64_t n, const int64_t *at, const int64_t *end,
                       const int32_t *table, uint64_t mask, const uint64_t *texts, const int64_t *lengths,
                       int64_t count, int64_t width, const uint64_t *factors, uint64_t mix, int64_t tries,
                       int32_t *found) {
    for (int64_t message = 0; message < n; message++) {
        found[message] = -1;
        const int64_t length = end[message] - at[message];
        if (at[message] < 0 || length <= 0 || length > 8 * width || end[message] > size) continue;
        const uint8_t *const topic = data + at[message];
        uint64_t hashed = 0;
        int64_t words = 0;
        for (int64_t done = 0; done < length; done += 8, words++)
            hashed += factors[words] * (length - done >= 8 ? whole_word(topic + done) : word(topic + done, length - done));
        hashed = (hashed ^ hashed >> 32) * mix;
        hashed ^= hashed >> 32;
        for (int64_t step = 0; step < tries; step++) {
            const int32_t number = table[(hashed + (uint64_t)step) & mask];
            if (number < 0 || number >= count || lengths[number] != length) continue;
            const uint64_t *const text = texts + number * width;
            int64_t same = 0;
            for (int64_t done = 0; same < words; done += 8, same++)
                if (text[same] != (length - done >= 8 ? whole_word(topic + done) : word(topic + done, length - done))) break;
            if (same == words) {
                found[message] = number;
                break;
            }
        }
    }
}

/* So far may a row's readings be ahead of the time that they tell of; a step of 0 is no bound. */
static inline int64_t room(int64_t step, int64_t burst, int64_t held_ms, int timeless) {
    if (!step) return INT64_MAX;
    const int64_t most = step * burst;
    return timeless && most < held_ms ? held_ms : most;
}

/* When a reading is taken to have been said (twin/records.py, known_by). */
static int64_t known_by(int64_t t, int64_t arrived, int64_t ahead_ms) {
    return t > arrived && (uint64_t)t - (uint64_t)arrived > (uint64_t)ahead_ms ? arrived + ahead_ms : t;
}

/* Readings whose numbers simply go on, into the account of twin/ingest/pages.py: of each row the arrays of `size` rows,
 * as they stand there; `recent` is -1 throughout, before and after. Returns whether they do go on (row known, boot its
 * row's, seq one more than that of the reading before), and with `take` has them counted. Without, no reading may be
 * older than the newest of its row, nor too many for the time that they tell of (twin/ingest/flood.py; `ahead` has room
 * for n numbers); with, all must have arrived within one hour. What is not so is for the double. */
EXPORT int32_t cw_account(int32_t take, int64_t n, const int32_t *row, const int64_t *boot, const int64_t *seq,
                          const int64_t *t, const int64_t *arrived, const uint8_t *flags, uint8_t late,
                          uint8_t no_clock, int64_t hour_ms, int64_t size, const int64_t *boot_of, int64_t *top,
                          int64_t *last_t, int64_t *last_arrived, int64_t *journalled, int64_t *late_count,
                          int64_t *offset_hour, int64_t *offset_now, int64_t *offset_before, uint8_t *touched,
                          int32_t *recent, const int64_t *step, int64_t *filled, int64_t *over, int64_t burst,
                          int64_t held_ms, int64_t *ahead, int64_t ahead_ms) {
    if (n <= 0 || n > INT32_MAX || arrived[0] < 0) return 0;
    const int64_t hour = arrived[0] / hour_ms;
    int64_t i = 0;
    for (; i < n; i++) {
        const int64_t of = row[i];
        if (of < 0 || of >= size || boot[i] != boot_of[of]) break;
        const int64_t before = recent[of];
        if (before >= i) break;
        if (boot[i] != NOT_ACCOUNTABLE && (uint64_t)seq[i] != (uint64_t)(before < 0 ? top[of] : seq[before]) + 1) break;
        if (!take && t[i] < (before < 0 ? last_t[of] : known_by(t[before], arrived[before], ahead_ms))) break;
        if (take && (arrived[i] < 0 || arrived[i] / hour_ms != hour)) break;
        if (!take) {
            const int64_t full = before < 0 ? filled[of] : ahead[before];
            if (full - t[i] > room(step[of], burst, held_ms, flags[i] & no_clock)) break;
            ahead[i] = (full > t[i] ? full : t[i]) + step[of];
        }
        recent[of] = (int32_t)i;
    }
    for (int64_t done = 0; done < i; done++) recent[row[done]] = -1;
    if (i < n || !take) return i == n;
    for (i = 0; i < n; i++) {
        const int64_t of = row[i];
        journalled[of]++;
        if (flags[i] & late) late_count[of]++;
        if (boot[i] != NOT_ACCOUNTABLE) {
            top[of] = seq[i];
            touched[of] = 1;
        }
        if (step[of]) {
            if (filled[of] - t[i] > room(step[of], burst, held_ms, flags[i] & no_clock))
                over[of] = (over[of] > arrived[i] ? over[of] : arrived[i]) + step[of];
            else
                filled[of] = (filled[of] > t[i] ? filled[of] : t[i]) + step[of];
        }
        const int64_t known = known_by(t[i], arrived[i], ahead_ms);
        if (known > last_t[of]) last_t[of] = known;
        if (arrived[i] > last_arrived[of]) last_arrived[of] = arrived[i];
        if (offset_hour[of] < hour) {
            offset_before[of] = offset_hour[of] == hour - 1 ? offset_now[of] : INT64_MAX;
            offset_now[of] = INT64_MAX;
            offset_hour[of] = hour;
        }
        const int64_t lag = flags[i] & no_clock ? INT64_MAX : (int64_t)((uint64_t)arrived[i] - (uint64_t)t[i]);
        if (lag < offset_now[of]) offset_now[of] = lag;
    }
    return 1;
}
