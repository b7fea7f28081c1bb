// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

#define SYS_clone3 435

// func cloneFirst(args *cloneArgs, size uintptr, w *watch, main uintptr) (pid, errno uintptr)
//
// The child wakes with its stack pointer at the top of its own stack, and finds w
// and main in registers. It calls by Go's own convention (ABIInternal): the
// argument in the first register.
TEXT ·cloneFirst(SB),NOSPLIT|NOFRAME,$0-48
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	w+16(FP), R19
	MOVD	main+24(FP), R20
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	MOVD	ZR, R4
	CMN	$4095, R0
	BCC	done
	NEG	R0, R4
	MOVD	$-1, R0
done:
	MOVD	R0, pid+32(FP)
	MOVD	R4, errno+40(FP)
	RET
child:
	MOVD	ZR, R29
	SUB	$32, RSP
	MOVD	R19, R0
	BL	(R20)
	BRK

// func loadAcquire(p *uint32) uint32
TEXT ·loadAcquire(SB),NOSPLIT|NOFRAME,$0-12
	MOVD	p+0(FP), R0
	LDARW	(R0), R0
	MOVW	R0, ret+8(FP)
	RET
