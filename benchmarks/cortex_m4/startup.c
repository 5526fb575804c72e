/* A Cortex-M4 as qemu's board mps2-an386 has it: vectors, the floating-point unit on, then newlib's start with semihosting. */
#include <stdint.h>

extern void _start(void);
extern uint32_t stack_top;

static void reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 are the floating-point unit */
    __asm volatile("dsb; isb");
    _start();
}

static void hang(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (void *)reset, (void *)hang, (void *)hang, (void *)hang, (void *)hang, (void *)hang,
};
