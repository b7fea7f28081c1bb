// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_clone3 435

// func cloneFirst(args *cloneArgs, size uintptr, w *watch, main uintptr) (pid, errno uintptr)
//
// The child wakes with its stack pointer at the top of its own stack, and finds w
// and main in registers. It calls by Go's own convention (ABIInternal): the
// argument in the first register.
TEXT ·cloneFirst(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	w+16(FP), R12
	MOVQ	main+24(FP), R13
	MOVQ	$SYS_clone3, AX
	SYSCALL
	CMPQ	AX, $0
	JEQ	child
	MOVQ	$0, errno+40(FP)
	CMPQ	AX, $-4095
	JCS	done
	NEGQ	AX
	MOVQ	AX, errno+40(FP)
	MOVQ	$-1, AX
done:
	MOVQ	AX, pid+32(FP)
	RET
child:
	XORQ	BP, BP
	SUBQ	$32, SP
	MOVQ	R12, AX
	XORPS	X15, X15
	CALL	R13
	INT	$3

// func loadAcquire(p *uint32) uint32
TEXT ·loadAcquire(SB),NOSPLIT|NOFRAME,$0-12
	MOVQ	p+0(FP), AX
	MOVL	(AX), AX
	MOVL	AX, ret+8(FP)
	RET
