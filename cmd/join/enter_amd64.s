// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_execve 59
#define SYS_exit_group 231
#define SYS_unshare 272
#define SYS_setns 308
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWUSER 0x10000000

DATA cannotJoin<>+0(SB)/8, $"rkt: can"
DATA cannotJoin<>+8(SB)/8, $"not join"
DATA cannotJoin<>+16(SB)/8, $" the use"
DATA cannotJoin<>+24(SB)/8, $"r namesp"
DATA cannotJoin<>+32(SB)/4, $"ace\n"
GLOBL cannotJoin<>(SB), RODATA, $36

DATA cannotExec<>+0(SB)/8, $"rkt: can"
DATA cannotExec<>+8(SB)/8, $"not exec"
DATA cannotExec<>+16(SB)/8, $"ute in t"
DATA cannotExec<>+24(SB)/8, $"he names"
DATA cannotExec<>+32(SB)/5, $"pace\n"
GLOBL cannotExec<>(SB), RODATA, $37

// The stack is as the kernel leaves it: argc, argv, 0, environment, 0. R12 to
// R15 hold what has to outlive a system call (which clobbers RCX and R11).
TEXT ·enter(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ	0(SP), R12		// argc
	LEAQ	8(SP), R13		// argv
	LEAQ	16(SP)(R12*8), R14	// environment
	CMPQ	R12, $1
	JLE	wait
	CMPQ	R12, $4
	JLT	badJoin

	// R15 = the number in argv[1]; at most four digits.
	MOVQ	8(R13), SI
	XORQ	R15, R15
	MOVQ	$5, CX
digit:
	MOVBLZX	(SI), AX
	TESTL	AX, AX
	JZ	join
	SUBL	$0x30, AX
	CMPL	AX, $9
	JHI	badJoin
	DECQ	CX
	JZ	badJoin
	IMULQ	$10, R15
	ADDQ	AX, R15
	INCQ	SI
	JMP	digit

join:
	MOVQ	R15, DI
	MOVQ	$CLONE_NEWUSER, SI
	MOVQ	$SYS_setns, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	badJoin
	MOVQ	$CLONE_NEWNS, DI
	MOVQ	$SYS_unshare, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	badJoin
	MOVQ	R15, DI
	MOVQ	$SYS_close, AX
	SYSCALL

	MOVQ	16(R13), DI		// argv[2], the program
	LEAQ	24(R13), SI		// its argument vector
	MOVQ	R14, DX
	MOVQ	$SYS_execve, AX
	SYSCALL
	LEAQ	cannotExec<>(SB), SI
	MOVQ	$37, DX
	JMP	fail

badJoin:
	LEAQ	cannotJoin<>(SB), SI
	MOVQ	$36, DX
fail:
	MOVQ	$2, DI
	MOVQ	$SYS_write, AX
	SYSCALL
	MOVQ	$254, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	UNDEF

wait:
	SUBQ	$16, SP
	XORQ	DI, DI
	MOVQ	SP, SI
	MOVQ	$1, DX
	XORQ	AX, AX			// SYS_read
	SYSCALL
	CMPQ	AX, $-4			// EINTR
	JEQ	wait
	XORQ	DI, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	UNDEF
