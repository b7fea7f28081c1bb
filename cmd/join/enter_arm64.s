// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_close 57
#define SYS_read 63
#define SYS_write 64
#define SYS_exit_group 94
#define SYS_unshare 97
#define SYS_execve 221
#define SYS_setns 268
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

// The stack is as the kernel leaves it: argc, argv, 0, environment, 0. System
// calls keep all registers but R0.
TEXT ·enter(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD	0(RSP), R19		// argc
	ADD	$8, RSP, R20		// argv
	ADD	R19<<3, R20, R21
	ADD	$8, R21			// environment
	CMP	$1, R19
	BLE	wait
	CMP	$4, R19
	BLT	badJoin

	// R22 = the number in argv[1]; at most four digits.
	MOVD	8(R20), R1
	MOVD	ZR, R22
	MOVD	$5, R2
	MOVD	$10, R4
digit:
	MOVBU	(R1), R3
	CBZ	R3, join
	SUB	$0x30, R3
	CMP	$9, R3
	BHI	badJoin
	SUB	$1, R2
	CBZ	R2, badJoin
	MADD	R4, R3, R22, R22	// R22 = R22 * 10 + R3
	ADD	$1, R1
	B	digit

join:
	MOVD	R22, R0
	MOVD	$CLONE_NEWUSER, R1
	MOVD	$SYS_setns, R8
	SVC
	CBNZ	R0, badJoin
	MOVD	$CLONE_NEWNS, R0
	MOVD	$SYS_unshare, R8
	SVC
	CBNZ	R0, badJoin
	MOVD	R22, R0
	MOVD	$SYS_close, R8
	SVC

	MOVD	16(R20), R0		// argv[2], the program
	ADD	$24, R20, R1		// its argument vector
	MOVD	R21, R2
	MOVD	$SYS_execve, R8
	SVC
	MOVD	$cannotExec<>(SB), R1
	MOVD	$37, R2
	B	fail

badJoin:
	MOVD	$cannotJoin<>(SB), R1
	MOVD	$36, R2
fail:
	MOVD	$2, R0
	MOVD	$SYS_write, R8
	SVC
	MOVD	$254, R0
	MOVD	$SYS_exit_group, R8
	SVC
	UNDEF

wait:
	SUB	$16, RSP
	MOVD	ZR, R0
	MOVD	RSP, R1
	MOVD	$1, R2
	MOVD	$SYS_read, R8
	SVC
	CMN	$4, R0			// EINTR
	BEQ	wait
	MOVD	ZR, R0
	MOVD	$SYS_exit_group, R8
	SVC
	UNDEF
