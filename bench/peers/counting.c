/* A subscriber that does nothing but count: what the broker can deliver at most. Plain MQTT 3.1.1 on loopback.
 *
 *     counting PORT MESSAGES QOS [TIMES]
 *
 * Says "ready" when subscribed to city/#, then one JSON line: messages and CPU seconds from the first to the last of
 * them. At QoS 1 each read's messages are acknowledged in one write. Gives up after 20 s without a byte. Into the file
 * TIMES go, for each read, the messages so far and the seconds of the system's monotonic clock.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SIZE (4 << 20)
static unsigned char buffer[SIZE], acks[SIZE];

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void send_all(int link, const unsigned char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(link, bytes, length, 0);
        if (sent <= 0) exit(1);
        bytes += sent;
        length -= (size_t)sent;
    }
}

int main(int count, char **given) {
    if (count != 4 && count != 5) return 2;
    FILE *times = count == 5 ? fopen(given[4], "w") : NULL;
    long goal = atol(given[2]), messages = 0;
    unsigned char qos = given[3][0] == '1';
    struct sockaddr_in broker = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(given[1]))};
    broker.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int link = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct timeval quiet = {.tv_sec = 20};
    if (connect(link, (struct sockaddr *)&broker, sizeof broker)) return 1;
    setsockopt(link, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
    const unsigned char hello[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'};
    const unsigned char want[] = {0x82, 11, 0, 1, 0, 6, 'c', 'i', 't', 'y', '/', '#', qos};
    send_all(link, hello, sizeof hello);
    send_all(link, want, sizeof want);

    size_t have = 0;
    double began = 0, ended = 0;
    while (messages < goal) {
        ssize_t got = recv(link, buffer + have, SIZE - have, 0);
        if (got <= 0) break;
        have += (size_t)got;
        size_t at = 0, owed = 0;
        while (at + 5 <= have || (at + 2 <= have && buffer[at + 1] < 128 && at + 2 + buffer[at + 1] <= have)) {
            size_t length = 0, head = at + 1;
            for (int shift = 0; shift < 28; shift += 7) {
                length |= (size_t)(buffer[head] & 127) << shift;
                if (buffer[head++] < 128) break;
            }
            if (head + length > have) break;
            if (buffer[at] >> 4 == 3) {
                if (!messages++) began = cpu_s();
                if (buffer[at] & 6) {
                    size_t id = head + 2 + (size_t)(buffer[head] << 8 | buffer[head + 1]);
                    memcpy(acks + owed, "\x40\x02", 2);
                    memcpy(acks + owed + 2, buffer + id, 2);
                    owed += 4;
                }
            } else if (buffer[at] >> 4 == 9) {
                puts("ready");
                fflush(stdout);
            }
            at = head + length;
        }
        send_all(link, acks, owed);
        memmove(buffer, buffer + at, have - at);
        have -= at;
        if (messages) ended = cpu_s();
        if (times && messages) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            fprintf(times, "%ld %ld.%09ld\n", messages, (long)now.tv_sec, now.tv_nsec);
        }
    }
    if (times) fclose(times);
    printf("{\"messages\":%ld,\"cpu_s\":%.6f}\n", messages, ended - began);
    return 0;
}
