// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_clone3 435

// func vfork(args *cloneArgs, size uintptr) (pid, errno uintptr)
//
// The child runs first, on this same stack, and overwrites our return address
// with those of its own calls. A register survives in the parent, so the
// address waits there.
TEXT ·vfork(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	$SYS_clone3, AX
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	$0, errno+24(FP)
	CMPQ	AX, $-4095
	JCS	done
	NEGQ	AX
	MOVQ	AX, errno+24(FP)
	MOVQ	$-1, AX
done:
	MOVQ	AX, pid+16(FP)
	RET
