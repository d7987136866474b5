/* A module of ipmi_sim: the watchdog timer of a BMC whose host re-arms it by a file.
 *
 * ipmi_sim's own timer runs only for a host that is attached to it by its serial protocol, and tells a wrong
 * countdown. This one answers Get Watchdog Timer (IPMI v2.0, 27.7) for a running system's timer.
 *
 * Options: "FILE SECONDS". FILE holds when the timer was last re-armed, seconds of the monotonic clock; without
 * it the timer is off. SECONDS is what it counts down from.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <OpenIPMI/ipmi_msgbits.h>
#include <OpenIPMI/mcserv.h>

enum { RUNNING_SYSTEM = 4, HARD_RESET = 1, TIMER_RUNS = 0x40 };

static char file[512];
static double countdown;

static void put_tenths(unsigned char *at, double seconds)
{
    unsigned int tenths = (unsigned int) lround(seconds * 10);
    at[0] = tenths & 0xff;
    at[1] = tenths >> 8 & 0xff;
}

static void get_watchdog_timer(lmc_data_t *mc, msg_t *msg, unsigned char *answer, unsigned int *length, void *data)
{
    double armed = -1, left = 0;
    struct timespec now;
    FILE *input = fopen(file, "r");

    (void) mc, (void) msg, (void) data;
    if (input) {
        if (fscanf(input, "%lf", &armed) != 1)
            armed = -1;
        fclose(input);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (armed >= 0)
        left = fmax(0, countdown - (now.tv_sec + now.tv_nsec / 1e9 - armed));
    memset(answer, 0, 9);
    answer[1] = RUNNING_SYSTEM | (left > 0 ? TIMER_RUNS : 0);
    answer[2] = HARD_RESET;
    answer[4] = armed >= 0 && left <= 0 ? 1 << RUNNING_SYSTEM : 0;
    put_tenths(answer + 5, countdown);
    put_tenths(answer + 7, left);
    *length = 9;
}

int ipmi_sim_module_init(sys_data_t *sys, const char *options)
{
    (void) sys;
    if (!options || sscanf(options, "%511s %lf", file, &countdown) != 2 || countdown <= 0)
        return -1;
    return ipmi_emu_register_cmd_handler(IPMI_APP_NETFN, IPMI_GET_WATCHDOG_TIMER_CMD, get_watchdog_timer, NULL);
}
