/* Instructions of one decode and of one code. With `-icount shift=0` an instruction takes a nanosecond of the board's time, and
 * its SysTick counts down at 25 MHz: 40 instructions a tick. */
#include "vae_decoder.h"

#include <stdio.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

static uint32_t now(void) { return REGISTER(0xE000E018); }
static double since(uint32_t start) { return 40.0 * ((start - now()) & 0xFFFFFF); }

int main(void) {
    static float z[VAE_LATENT], x[VAE_VALUES];
    REGISTER(0xE000E014) = 0xFFFFFF; /* reload */
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 5; /* on, by the processor's clock */
    for (volatile int wait = 0; wait < 1000; wait++) {
    }
    uint32_t start = now();
    vae_prior(7, 0, z);
    const double code = since(start);
    start = now();
    vae_decode(z, x);
    const double decode = since(start);
    printf("%.0f %.0f\n", decode, code);
    return 0;
}
