// SPDX-License-Identifier: Apache-2.0

package seccomp

// socketcallNumber is a call's number behind i386's socketcall(2) (SYS_* of
// linux/net.h), or 0.
func socketcallNumber(c Call) uint16 {
	switch c {
	case sysSocket:
		return 1
	case sysBind:
		return 2
	case sysConnect:
		return 3
	case sysListen:
		return 4
	case sysAccept:
		return 5
	case sysGetsockname:
		return 6
	case sysGetpeername:
		return 7
	case sysSocketpair:
		return 8
	case sysSend:
		return 9
	case sysRecv:
		return 10
	case sysSendto:
		return 11
	case sysRecvfrom:
		return 12
	case sysShutdown:
		return 13
	case sysSetsockopt:
		return 14
	case sysGetsockopt:
		return 15
	case sysSendmsg:
		return 16
	case sysRecvmsg:
		return 17
	case sysAccept4:
		return 18
	case sysRecvmmsg:
		return 19
	case sysSendmmsg:
		return 20
	}
	return 0
}

// ipcNumber is a call's number behind i386's ipc(2) (linux/ipc.h), or 0.
func ipcNumber(c Call) uint16 {
	switch c {
	case sysSemop:
		return 1
	case sysSemget:
		return 2
	case sysSemctl:
		return 3
	case sysSemtimedop:
		return 4
	case sysMsgsnd:
		return 11
	case sysMsgrcv:
		return 12
	case sysMsgget:
		return 13
	case sysMsgctl:
		return 14
	case sysShmat:
		return 21
	case sysShmdt:
		return 22
	case sysShmget:
		return 23
	case sysShmctl:
		return 24
	}
	return 0
}
