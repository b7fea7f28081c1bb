/* SPDX-License-Identifier: Apache-2.0 */

/* Makes the call in the first argument, with the others as its arguments, by
 * way of int 0x80, that is by i386's convention from a 64-bit program, and
 * prints what the kernel answers. */

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	long v[4] = {0};

	for (int i = 0; i < 4 && i + 1 < argc; i++)
		v[i] = strtol(argv[i + 1], NULL, 0);
	long r = v[0];
	__asm__ volatile("int $0x80" : "+a"(r) : "b"(v[1]), "c"(v[2]), "d"(v[3]) : "memory", "r8", "r9", "r10", "r11");
	printf("%d\n", (int)r);
	return 0;
}
