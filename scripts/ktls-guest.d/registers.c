// Lets User-Mode Linux run on processors with more registers than it knows. Preloaded by scripts/ktls-guest.
//
// UML of Linux 6.1 keeps 2,696 bytes of extended registers, those up to AVX-512, and gives them back by
// PTRACE_SETREGSET. The host takes nothing but the whole area (EFAULT, arch/x86/kernel/fpu/regset.c), which is
// larger where the processor has AMX. Linux 6.13 asks the host for the size. Here, what UML knows is put in front
// of what it does not know. The guest's programs do not use the rest: the host gives AMX to those alone that ask for it.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

// An XSAVE area in the standard format (Intel SDM volume 1, 13.4): 512 bytes, then a header whose first word says
// which components are not in their initial state. Components 0 to 9 lie below KNOWN.
enum { HEADER = 512, KNOWN = 2696, LARGEST = 1 << 16 };
static const uint64_t KNOWN_COMPONENTS = 0x3ff;

typedef long (*ptrace_fn)(enum __ptrace_request, ...);
static ptrace_fn host_ptrace;

__attribute__((constructor)) static void find(void)
{
	host_ptrace = (ptrace_fn)dlsym(RTLD_NEXT, "ptrace");
}

static long set_known(pid_t pid, const struct iovec *known)
{
	// UML's kernel stacks are small. It has one thread, and its interrupts do not come here.
	static unsigned char area[LARGEST];
	struct iovec whole = { .iov_base = area, .iov_len = sizeof(area) };
	uint64_t had, has;

	if (known->iov_len != KNOWN) {
		errno = EFAULT;
		return -1;
	}
	if (host_ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &whole) != 0)
		return -1;
	memcpy(&had, area + HEADER, sizeof(had));
	memcpy(area, known->iov_base, KNOWN);
	memcpy(&has, area + HEADER, sizeof(has));
	has = (has & KNOWN_COMPONENTS) | (had & ~KNOWN_COMPONENTS);
	memcpy(area + HEADER, &has, sizeof(has));
	return host_ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	static int refused;
	va_list arguments;
	pid_t pid;
	void *address, *data;
	long result;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);

	if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE)
		return host_ptrace(request, pid, address, data);
	if (!refused) {
		result = host_ptrace(request, pid, address, data);
		if (result == 0 || errno != EFAULT)
			return result;
		refused = 1;
	}
	return set_known(pid, data);
}
