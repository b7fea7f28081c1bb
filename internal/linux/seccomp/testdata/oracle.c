/* SPDX-License-Identifier: Apache-2.0 */

/* Has libseccomp make a filter of a policy on standard input, and writes the
 * program to standard output. Lines:
 *   init DEFAULT BADARCH
 *   arch TOKEN
 *   rule ACTION NAME COUNT [INDEX OP A B]...
 * Names that libseccomp does not know go to standard error, one a line. Exit
 * status 3: it refuses a rule.
 * With the argument "numbers TOKEN": the numbers and names it knows instead.
 */

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what, int rc)
{
	fprintf(stderr, "oracle: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void numbers(unsigned token)
{
	for (int n = 0; n < 0xf0010; n = n == 1000 ? 0xf0000 : n + 1) {
		char *name = seccomp_syscall_resolve_num_arch(token, n);
		if (name)
			printf("%d %s\n", n, name);
		free(name);
	}
}

int main(int argc, char **argv)
{
	char word[16], name[64];
	scmp_filter_ctx ctx = NULL;
	int rc;

	if (argc == 3 && !strcmp(argv[1], "numbers")) {
		numbers(strtoul(argv[2], NULL, 0));
		return 0;
	}
	while (scanf("%15s", word) == 1) {
		unsigned a, b, count;
		if (!strcmp(word, "init") && scanf("%u %u", &a, &b) == 2) {
			if (!(ctx = seccomp_init(a)))
				die("init", -EINVAL);
			if ((rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, b)))
				die("badarch", rc);
			if ((rc = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE)))
				die("arch remove", rc);
		} else if (!strcmp(word, "arch") && scanf("%u", &a) == 1) {
			if ((rc = seccomp_arch_add(ctx, a)))
				die("arch", rc);
		} else if (!strcmp(word, "rule") && scanf("%u %63s %u", &a, name, &count) == 3) {
			struct scmp_arg_cmp cmp[6];
			for (unsigned i = 0; i < count && i < 6; i++) {
				unsigned index, op;
				unsigned long long x, y;
				if (scanf("%u %u %llu %llu", &index, &op, &x, &y) != 4)
					die("condition", -EINVAL);
				cmp[i] = (struct scmp_arg_cmp){index, op, x, y};
			}
			int nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR) {
				fprintf(stderr, "%s\n", name);
				continue;
			}
			rc = seccomp_rule_add_array(ctx, a, nr, count, cmp);
			/* Some conditions are beyond it, and leave the filter broken. */
			if (rc == -EINVAL)
				return 3;
			if (rc && rc != -EEXIST)
				die(name, rc);
		} else {
			die(word, -EINVAL);
		}
	}
	if ((rc = seccomp_export_bpf(ctx, 1)))
		die("export", rc);
	return 0;
}
