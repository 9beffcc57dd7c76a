/* Loaded into a process (LD_PRELOAD), this makes its time of day wrong by WRONG_CLOCK_S seconds. The monotonic clock is left
 * alone, and so is gettimeofday: allocators wait by it, against the kernel's own clock.
 *
 * It asks the kernel itself. What finds the real functions first, as libfaketime does, needs memory for that, and an Envoy
 * asks for the time while its allocator starts: it never comes up. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long ahead_s;

__attribute__((constructor)) static void read_ahead(void) {
    const char *text = getenv("WRONG_CLOCK_S");
    ahead_s = text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += ahead_s;
    }
    return failed;
}

time_t time(time_t *copy) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (copy) {
        *copy = now.tv_sec;
    }
    return now.tv_sec;
}
