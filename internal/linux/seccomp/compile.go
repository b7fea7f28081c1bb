// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16 // 8 bytes each, lower half first on both machines
)

// Slots are dense places for call numbers: the tables' own range, then ARM's
// private calls.
const (
	plain    = 512
	numSlots = plain + 16
)

// x32 is the bit that marks an x32 call.
const x32 = 0x40000000

// What a slot holds: an Action, or one of these, which no valid Action equals.
const (
	undecided = 0xb0000000
	isChain   = 0xa0000000 // | index in chains
	chainMask = 0xfff00000
)

// chain is the list of conditional rules of one call.
type chain struct {
	links []link
	last  Action
	done  bool // last is decided
}

type link struct {
	rule *Rule
	sub  uint16 // if not 0: argument 0 is this call behind socketcall or ipc
	mask uint32
}

// run is a stretch of numbers, up to the next run, with the same outcome.
type run struct {
	start   uint32
	outcome uint32
}

// compiler writes the program from its end to its start: jumps only go
// forward, so that every target is known when a jump is written. Positions
// count from the end.
type compiler struct {
	policy  *Policy
	narrow  bool
	back    []unix.SockFilter
	rets    []ret
	chains  []chain
	written []written
	runs    []run
	leaves  []leaf
	slots   [numSlots]uint32
}

// written is a chain that any architecture may jump to.
type written struct {
	chain chain
	at    int
}

type ret struct {
	action Action
	at     int
}

// Compile translates a policy, in some 20 µs for the default one. Calls
// that an architecture lacks are skipped there. The error says what is wrong
// with the policy.
func Compile(p *Policy) (Program, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	c := compiler{
		policy: p,
		back:   make([]unix.SockFilter, 0, 256),
		rets:   make([]ret, 0, 8),
		runs:   make([]run, 0, 192),
		leaves: make([]leaf, 0, 64),
	}
	var sections [numArches]int
	for i := len(p.Arches) - 1; i >= 0; i-- {
		sections[i] = c.section(p.Arches[i])
	}
	next := c.ret(p.WrongArch)
	for i := len(p.Arches) - 1; i >= 0; i-- {
		next = c.jump(unix.BPF_JEQ, archs[p.Arches[i]].audit, sections[i], next)
	}
	c.load(offArch, next)

	if len(c.back) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("cannot compile seccomp policy: %d instructions, the kernel takes %d", len(c.back), unix.BPF_MAXINSNS)
	}
	prog := make(Program, len(c.back))
	for i, f := range c.back {
		prog[len(prog)-1-i] = f
	}
	return prog, nil
}

// section writes the part for one architecture and returns where it starts.
func (c *compiler) section(a Arch) int {
	c.narrow = archs[a].narrow
	c.chains = c.chains[:0]
	c.decide(a)

	runs := c.runs[:0]
	add := func(start, outcome uint32) {
		if n := len(runs); n == 0 || runs[n-1].outcome != outcome {
			runs = append(runs, run{start, outcome})
		}
	}
	for s, o := range c.slots[:plain] {
		add(uint32(s), o)
	}
	add(plain, uint32(c.policy.Unknown))
	for s, o := range c.slots[plain:] {
		add(private32+uint32(s), o)
	}
	add(private32+numSlots-plain, uint32(c.policy.Unknown))
	if a == AMD64 {
		add(x32, uint32(actENOSYS))
		// -1 is no x32 call: a tracer writes it to skip a call.
		add(^uint32(0), uint32(c.policy.Unknown))
	}
	c.runs, c.leaves = runs, leaves(runs, c.leaves[:0])
	return c.load(offNumber, c.tree(c.leaves))
}

// decide fills the slots for one architecture.
func (c *compiler) decide(a Arch) {
	numbers := archs[a].numbers
	for s := range c.slots {
		c.slots[s] = uint32(c.policy.Unknown)
	}
	for _, n := range numbers {
		if n != none {
			c.slots[slot(n)] = undecided
		}
	}
	for i := range c.policy.Rules {
		r := &c.policy.Rules[i]
		for _, call := range r.Calls {
			if n := numbers[call]; n != none {
				c.add(slot(n), link{rule: r}, len(r.Args) == 0)
			}
		}
	}
	if a == I386 {
		c.doors(slot(numbers[sysSocketcall]), slot(numbers[sysIpc]))
	}
	for s, o := range c.slots {
		switch {
		case o == undecided:
			c.slots[s] = uint32(c.policy.Default)
		case o&chainMask == isChain:
			if ch := &c.chains[o&^chainMask]; !ch.done {
				ch.last = c.policy.Default
			}
		}
	}
}

func slot(n uint16) int {
	if n >= private16 {
		return plain + int(n&0xf)
	}
	return int(n)
}

// add appends a rule to what a slot has; always says that it needs no look at
// the arguments.
func (c *compiler) add(s int, l link, always bool) {
	o := c.slots[s]
	switch {
	case o == undecided && always:
		c.slots[s] = uint32(l.rule.Action)
	case o == undecided:
		c.slots[s] = isChain | uint32(len(c.chains))
		c.chains = append(c.chains, chain{links: []link{l}})
	case o&chainMask == isChain:
		ch := &c.chains[o&^chainMask]
		switch {
		case ch.done:
		case always:
			ch.last, ch.done = l.rule.Action, true
		default:
			ch.links = append(ch.links, l)
		}
	}
}

// doors applies rules for socket calls and System V IPC to i386's socketcall
// and ipc.
func (c *compiler) doors(socketcall, ipc int) {
	open := func(s int) bool {
		o := c.slots[s]
		return o == undecided || o&chainMask == isChain && !c.chains[o&^chainMask].done
	}
	if !open(socketcall) && !open(ipc) {
		return
	}
	for i := range c.policy.Rules {
		r := &c.policy.Rules[i]
		if len(r.Args) > 0 && r.Action.permits() {
			continue
		}
		for _, call := range r.Calls {
			if n := socketcallNumber(call); n != 0 {
				c.add(socketcall, link{r, n, Low32}, false)
			} else if n := ipcNumber(call); n != 0 {
				// The upper half of ipc's first argument is a version.
				c.add(ipc, link{r, n, 0xffff}, false)
			}
		}
	}
}

// maxSingles bounds the single numbers that a leaf of the tree looks for one by
// one: each costs an instruction there, and two in the tree.
const maxSingles = 4

// leaf is some neighbouring runs: one outcome, but for single numbers in
// between, at the odd places.
type leaf []run

// leaves cuts runs into leaves.
func leaves(runs []run, into []leaf) []leaf {
	single := func(i int) bool { return i+1 < len(runs) && runs[i+1].start == runs[i].start+1 }
	for i := 0; i < len(runs); {
		end := i + 1
		for n := 0; single(end) && runs[end+1].outcome == runs[i].outcome; n++ {
			if n == maxSingles {
				end-- // the next leaf has the same outcome
				break
			}
			end += 2
		}
		into = append(into, runs[i:end])
		i = end
	}
	return into
}

// tree writes a binary search for the number in the accumulator and returns
// where it starts.
func (c *compiler) tree(l []leaf) int {
	if len(l) == 1 {
		at := c.outcome(l[0][0].outcome)
		for i := 1; i < len(l[0]); i += 2 {
			at = c.jump(unix.BPF_JEQ, l[0][i].start, c.outcome(l[0][i].outcome), at)
		}
		return at
	}
	mid := len(l) / 2
	high := c.tree(l[mid:])
	low := c.tree(l[:mid])
	return c.jump(unix.BPF_JGE, l[mid][0].start, high, low)
}

func (c *compiler) outcome(o uint32) int {
	if o&chainMask == isChain {
		return c.chain(&c.chains[o&^chainMask])
	}
	return c.ret(Action(o))
}

func (c *compiler) chain(ch *chain) int {
	index, mask, one := ch.word()
	if one {
		// The same on every architecture: the first to come wrote it.
		for i := range c.written {
			if w := &c.written[i]; w.chain.last == ch.last && slices.Equal(w.chain.links, ch.links) {
				return w.at
			}
		}
	}
	next := c.ret(ch.last)
	for i := len(ch.links) - 1; i >= 0; i-- {
		l := &ch.links[i]
		at := c.ret(l.rule.Action)
		args := l.conditions()
		for j := len(args) - 1; j >= 0; j-- {
			at = c.condition(&args[j], at, next, one)
		}
		next = at
	}
	if one {
		next = c.half(offArgs+8*uint32(index), mask, next)
		c.written = append(c.written, written{*ch, next})
	}
	return next
}

// conditions are the rule's, or the one that tells the call behind a door.
func (l *link) conditions() []Arg {
	if l.sub != 0 {
		return []Arg{{Index: 0, Op: Equal, Value: uint64(l.sub), Mask: uint64(l.mask)}}
	}
	return l.rule.Args
}

// word tells whether all conditions look at the same lower half of an argument
// under the same mask, so that one load will do.
func (ch *chain) word() (index uint8, mask uint32, one bool) {
	for i := range ch.links {
		for _, a := range ch.links[i].conditions() {
			if a.Mask == 0 || a.Mask > Low32 || a.Value > Low32 || one && (a.Index != index || uint32(a.Mask) != mask) {
				return 0, 0, false
			}
			index, mask, one = a.Index, uint32(a.Mask), true
		}
	}
	return index, mask, one
}

// condition writes one comparison that goes on at yes or no, and returns where
// it starts. With loaded, the accumulator has the argument's lower half, masked.
func (c *compiler) condition(a *Arg, yes, no int, loaded bool) int {
	op := a.Op
	switch op {
	case NotEqual:
		op, yes, no = Equal, no, yes
	case Less:
		op, yes, no = GreaterEqual, no, yes
	case LessEqual:
		op, yes, no = Greater, no, yes
	}
	code := uint16(unix.BPF_JEQ)
	switch op {
	case Greater:
		code = unix.BPF_JGT
	case GreaterEqual:
		code = unix.BPF_JGE
	}
	if loaded {
		return c.jump(code, uint32(a.Value), yes, no)
	}
	mask := a.Mask
	if mask == 0 {
		mask = ^uint64(0)
	}
	maskLow, maskHigh := uint32(mask), uint32(mask>>32)
	if c.narrow {
		maskHigh = 0
	}
	low, high := uint32(a.Value), uint32(a.Value>>32)
	off := offArgs + 8*uint32(a.Index)

	// Where to go on if the upper halves are equal.
	var equal int
	if maskLow == 0 {
		// The lower half is 0.
		equal = no
		if low == 0 && op != Greater {
			equal = yes
		}
	} else {
		equal = c.half(off, maskLow, c.jump(code, low, yes, no))
	}
	if maskHigh == 0 {
		// The upper half is 0, and not greater than anything.
		if high != 0 {
			return no
		}
		return equal
	}
	start := c.jump(unix.BPF_JEQ, high, equal, no)
	if op != Equal {
		start = c.jump(unix.BPF_JGT, high, yes, start)
	}
	return c.half(off+4, maskHigh, start)
}

// half writes the load of half an argument and returns where it starts; at is
// what comes next.
func (c *compiler) half(off, mask uint32, at int) int {
	if mask != ^uint32(0) {
		c.follow(at)
		at = c.emit(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
	}
	return c.load(off, at)
}

// follow makes sure that what is written next runs on to at.
func (c *compiler) follow(at int) {
	if n := len(c.back); at != n-1 {
		c.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n - 1 - at)})
	}
}

func (c *compiler) emit(f unix.SockFilter) int {
	c.back = append(c.back, f)
	return len(c.back) - 1
}

func (c *compiler) load(off uint32, at int) int {
	c.follow(at)
	return c.emit(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off})
}

// ret returns the place of an instruction that ends with the action, near
// enough for jumps from here.
func (c *compiler) ret(a Action) int {
	for i := range c.rets {
		if r := &c.rets[i]; r.action == a {
			if len(c.back)-r.at > 200 {
				r.at = c.emit(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)})
			}
			return r.at
		}
	}
	at := c.emit(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: uint32(a)})
	c.rets = append(c.rets, ret{a, at})
	return at
}

// jump writes a conditional jump. Its offsets have 8 bits, so that a target
// farther away is reached by a plain jump in between.
func (c *compiler) jump(op uint16, k uint32, yes, no int) int {
	if yes == no {
		return yes
	}
	yes = c.near(yes)
	no = c.near(no)
	n := len(c.back)
	return c.emit(unix.SockFilter{
		Code: unix.BPF_JMP | op | unix.BPF_K,
		Jt:   uint8(n - 1 - yes),
		Jf:   uint8(n - 1 - no),
		K:    k,
	})
}

func (c *compiler) near(at int) int {
	// One more instruction may come in between: the other target's jump.
	if n := len(c.back); n-at > 255 {
		return c.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n - 1 - at)})
	}
	return at
}
