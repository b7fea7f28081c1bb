// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_clone3 435

// func vfork(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// A leaf without a frame: the return address is in R30 and never on the stack
// that the child shares.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	$SYS_clone3, R8
	SVC
	MOVD	ZR, R4
	CMN	$4095, R0
	BCC	done
	NEG	R0, R4
	MOVD	$-1, R0
done:
	MOVD	R0, pid+16(FP)
	MOVD	R4, errno+24(FP)
	RET
