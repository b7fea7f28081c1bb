// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// quantity is appc's and Kubernetes' way to write an amount: "500m", "1.5Gi",
// "2e3". It is kept as written.
type quantity string

// UnmarshalJSON takes strings and numbers.
func (q *quantity) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) >= 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	p, err := parseQuantity(s)
	*q = p
	return err
}

func parseQuantity(s string) (quantity, error) {
	_, err := parseAmount(s)
	if err != nil {
		return "", err
	}
	return quantity(s), nil
}

func (q quantity) whole() (int64, error) { return q.times(1) }
func (q quantity) milli() (int64, error) { return q.times(1000) }

// times is q by n, rounded up; n is at most 1000.
func (q quantity) times(n uint64) (int64, error) {
	a, err := parseAmount(string(q))
	if err != nil {
		return 0, err
	}
	hi, lo := bits.Mul64(a.digits*n, a.by)
	if hi >= a.over {
		return 0, errors.New("it is too large")
	}
	whole, rest := bits.Div64(hi, lo, a.over)
	if rest > 0 {
		whole++
	}
	if whole == 0 && rest > 0 || whole > math.MaxInt64 {
		return 0, errors.New("it is too large")
	}
	return int64(whole), nil
}

// amount is digits × by ÷ over.
type amount struct{ digits, by, over uint64 }

// parseAmount reads a number that is not negative, of fifteen digits at most,
// with a suffix: decimal (m, k, K, M, G, T, P, E), binary (Ki … Ei) or an
// exponent of up to 18.
func parseAmount(s string) (amount, error) {
	bad := fmt.Errorf("%q is not a quantity such as 500m, 2, 1.5G or 512Mi", s)
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	whole, fraction, dot := strings.Cut(s[:end], ".")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" && (!dot || fraction == "") || strings.Contains(fraction, ".") {
		return amount{}, bad
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	if len(digits) > 15 || len(fraction) > 15 {
		return amount{}, bad
	}
	a := amount{by: 1, over: power(10, len(fraction))}
	if digits != "" {
		a.digits, _ = strconv.ParseUint(digits, 10, 64) // it is digits, and few
	}
	const decimal, binary = "KMGTPE", "KiMiGiTiPiEi"
	suffix := s[end:]
	switch i := strings.Index(decimal, suffix); {
	case suffix == "":
	case suffix == "m":
		a.over *= 1000
	case suffix == "k":
		a.by = 1000
	case len(suffix) == 1 && i >= 0:
		a.by = power(1000, i+1)
	case len(suffix) == 2 && suffix[1] == 'i' && strings.Contains(binary, suffix):
		a.by = 1 << (10 * (strings.Index(binary, suffix)/2 + 1))
	case suffix[0] == 'e' || suffix[0] == 'E':
		n, err := strconv.ParseUint(strings.TrimPrefix(suffix[1:], "+"), 10, 8)
		if err != nil || n > 18 {
			return amount{}, bad
		}
		a.by = power(10, int(n))
	default:
		return amount{}, bad
	}
	return a, nil
}

func power(base uint64, n int) uint64 {
	p := uint64(1)
	for range n {
		p *= base
	}
	return p
}
