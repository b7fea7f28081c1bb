// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/rkt/rkt/internal/image"
)

func TestQuantity(t *testing.T) {
	for in, want := range map[string][2]int64{
		"0": {0, 0}, "1": {1, 1000}, "500m": {1, 500}, "1.5": {2, 1500}, ".5": {1, 500}, "1.": {1, 1000},
		"4096": {4096, 4096000}, "1k": {1000, 1000000}, "1K": {1000, 1000000}, "1.5G": {1500000000, 1500000000000},
		"512Mi": {512 << 20, 512 << 20 * 1000}, "1Ki": {1024, 1024000}, "2e3": {2000, 2000000}, "2E3": {2000, 2000000},
		"2e+3": {2000, 2000000}, "0.001Ki": {2, 1024}, "0.0001": {1, 1}, "000000000000000000001": {1, 1000}, "1E": {1e18, -1},
	} {
		q, err := parseQuantity(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		whole, err1 := q.whole()
		milli, err2 := q.milli()
		if err2 != nil {
			milli = -1
		}
		if err1 != nil || whole != want[0] || milli != want[1] {
			t.Errorf("%q is %d (%v) and %d thousandths (%v), want %d", in, whole, err1, milli, err2, want)
		}
	}
	for _, in := range []string{"", ".", "-1", "+1", "1X", "1KB", "1kk", "1Mii", "Mi", "1.2.3", "1e", "1e99", "1e-3", "0x10", "1 ", "1_000", "9999999999999999", "1ii", "1KM", "1iM", "1μ"} {
		if q, err := parseQuantity(in); err == nil {
			t.Errorf("%q is %v", in, q)
		}
	}
	if n, err := quantity("999999999999999E").whole(); err == nil {
		t.Errorf("too large is %d", n)
	}
}

// FuzzQuantity holds the arithmetic against math/big.
func FuzzQuantity(f *testing.F) {
	for _, s := range []string{"500m", "1.5Gi", "2e3", "0.000000000000001E", "999999999999999Ei", "1.", ".1k"} {
		f.Add(s)
	}
	suffixes := map[string]string{"": "1", "m": "1/1000", "k": "1000", "K": "1000", "M": "1000000", "G": "1000000000",
		"Ki": "1024", "Mi": "1048576", "Gi": "1073741824", "E": "1000000000000000000", "Ei": "1152921504606846976"}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := parseQuantity(s)
		if err != nil {
			return
		}
		i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if i < 0 {
			i = len(s)
		}
		by, ok := new(big.Rat).SetString(suffixes[s[i:]])
		if !ok {
			return // an exponent, or a suffix that is not in the table
		}
		want, ok := new(big.Rat).SetString(s[:i])
		if !ok {
			t.Fatalf("%q was accepted", s)
		}
		want.Mul(want, by)
		up := new(big.Int).Add(want.Num(), new(big.Int).Sub(want.Denom(), big.NewInt(1)))
		up.Quo(up, want.Denom())
		got, err := q.whole()
		if up.IsInt64() != (err == nil) || err == nil && up.Int64() != got {
			t.Fatalf("%q is %d (%v), want %v", s, got, err, up)
		}
	})
}

func isolators(pairs ...string) (list []image.Isolator) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, image.Isolator{Name: pairs[i], Value: image.Raw(pairs[i+1])})
	}
	return list
}

func TestLimits(t *testing.T) {
	is, err := Isolate(isolators(
		IsolatorCPU, `{"request":"250m","limit":"1.5"}`,
		IsolatorMemory, `{"default":false,"request":"64Mi","limit":"1G","high":"900M","swap":"0"}`,
		IsolatorPIDs, `{"limit":100}`,
		IsolatorBlockBandwidth, `{"default":true,"limit":"2M"}`,
		IsolatorBlockIOPS, `{"default":true,"limit":"1000"}`,
		IsolatorCPUSet, `"0-1"`,
		IsolatorRlimits, `{"nofile":"1024:4096","core":"0","RLIMIT_STACK":"unlimited"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{CPU: 1500, CPUShares: 256, CPUSet: "0-1", Memory: 1e9, MemoryRequest: 64 << 20, MemoryHigh: 900e6,
		PIDs: 100, BlockBandwidth: 2e6, BlockIOPS: 1000}
	if is.Limits != want {
		t.Errorf("limits\n%+v, want\n%+v", is.Limits, want)
	}
	rl := []Rlimit{{"stack", Unlimited, Unlimited}, {"core", 0, 0}, {"nofile", 1024, 4096}}
	if !reflect.DeepEqual(is.Rlimits, rl) {
		t.Errorf("rlimits %v, want %v", is.Rlimits, rl)
	}
	// Shares go before what a request would weigh.
	is, err = Isolate(isolators(IsolatorCPU, `{"request":"2"}`, IsolatorCPUShares, `"512"`))
	if err != nil || is.Limits.CPUShares != 512 || is.Limits.CPU != 0 {
		t.Errorf("%+v, %v", is, err)
	}
	p, err := PodIsolate(isolators(IsolatorSysctl, `{"net.core.somaxconn":"100"}`, IsolatorMemory, `{"limit":"4096"}`))
	if err != nil || p.Sysctls["net.core.somaxconn"] != "100" || p.Limits.Memory != 4096 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestLimitsRefused(t *testing.T) {
	for _, c := range [][3]string{
		{IsolatorMemory, `{"limit":"4095"}`, "out of range"},
		{IsolatorMemory, `{"limit":"-1"}`, "not a quantity"},
		{IsolatorMemory, `{"default":true,"limit":"1G"}`, "default must be false"},
		{IsolatorMemory, `{"request":"2G","limit":"1G"}`, "above the limit"},
		{IsolatorMemory, `{"swap":"1G"}`, "no limit"},
		{IsolatorMemory, `{"request":"1G","swap":"1G"}`, "swap needs a limit"},
		{IsolatorMemory, `{}`, "no limit"},
		{IsolatorMemory, `{"limit":"1G","soft":"1G"}`, "not as specified"},
		{IsolatorCPU, `{"limit":"0"}`, "out of range"},
		{IsolatorCPU, `{"limit":"1","high":"1"}`, "only memory"},
		{IsolatorCPU, `{"limit":"1","request":"2"}`, "above the limit"},
		{IsolatorCPUShares, `1`, "not from 2"},
		{IsolatorPIDs, `{"limit":"4194305"}`, "out of range"},
		{IsolatorPIDs, `{"request":"1","limit":"2"}`, "no request"},
		{IsolatorBlockBandwidth, `{"limit":"1M"}`, "default must be true"},
		{IsolatorBlockIOPS, `{"default":true,"limit":"1"}`, "out of range"},
		{IsolatorBlockIOPS, `{"default":false,"limit":"1M"}`, "default must be true"},
		{IsolatorNetworkBandwidth, `{"limit":"1M"}`, "default must be true"},
		{IsolatorNetworkBandwidth, `{"default":true,"limit":"1023"}`, "out of range"},
		{IsolatorNetworkBandwidth, `{"default":true,"request":"1M","limit":"1M"}`, "no request"},
		{IsolatorCPUSet, `"1-0"`, "not a list"},
		{IsolatorCPUSet, `"0;1"`, "not a list"},
		{IsolatorRlimits, `{"files":"1"}`, "getrlimit"},
		{IsolatorRlimits, `{"nofile":"2:1"}`, "above the hard"},
		{IsolatorRlimits, `{"nofile":"1","RLIMIT_NOFILE":"1"}`, "given twice"},
		{IsolatorSysctl, `{"net.core.somaxconn":"100"}`, "belongs to the pod"},
	} {
		_, err := Isolate(isolators(c[0], c[1]))
		if err == nil || !strings.Contains(err.Error(), c[2]) || !strings.Contains(err.Error(), c[0]) {
			t.Errorf("%s %s: %v, want %q and the name", c[0], c[1], err, c[2])
		}
	}
	for name, value := range map[string]string{
		"kernel.core_pattern": "|/x", "kernel.hostname": "x", "vm.swappiness": "1", "fs.file-max": "1", "kernel.panic": "1",
		"net..x": "1", "net.../.x": "1", "net.core/../x": "a\nb", "": "1", "net.ipv4.conf.//.x": "1", "net.a b": "1",
	} {
		if err := ValidateSysctl(name, value); err == nil {
			t.Errorf("%s=%q is accepted", name, value)
		}
	}
	for _, i := range []image.Isolator{CapsIsolator(IsolatorCapsRetain, nil), OOMScoreAdjIsolator(1), RlimitsIsolator(nil)} {
		if _, err := PodIsolate([]image.Isolator{i}); err == nil || !strings.Contains(err.Error(), "belongs to an app") {
			t.Errorf("pod's %s: %v", i.Name, err)
		}
	}
}

func TestResourceFlags(t *testing.T) {
	for text, want := range map[string]string{
		"512Mi":                      `{"limit":"512Mi"}`,
		"limit=1G,request=64M":       `{"request":"64M","limit":"1G"}`,
		"request=64M":                `{"request":"64M"}`,
		"limit=1G,high=900M,swap=2G": `{"limit":"1G","high":"900M","swap":"2G"}`,
		"1G,swap=1":                  `{"limit":"1G","swap":"1"}`,
		"":                           "", "1G,2G": "", "max=1G": "", "1": "", "limit=": "", "limit=1G,": "",
	} {
		i, err := ResourceIsolator(IsolatorMemory, text)
		if (err != nil) != (want == "") || err == nil && string(i.Value) != want {
			t.Errorf("%q is %s, %v; want %s", text, i.Value, err, want)
		}
	}
	i, err := ResourceIsolator(IsolatorBlockIOPS, "100")
	if err != nil || string(i.Value) != `{"default":true,"limit":"100"}` {
		t.Errorf("%s, %v", i.Value, err)
	}
	r, err := ParseRlimit("NOFILE=10:unlimited")
	if err != nil || r.String() != "nofile=10:unlimited" {
		t.Errorf("%v, %v", r, err)
	}
}
