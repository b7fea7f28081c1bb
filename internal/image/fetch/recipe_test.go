// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/rkt/rkt/internal/image"
)

func FuzzRecipe(f *testing.F) {
	f.Add([]byte(`{"kind":"rkt render 1","steps":[{"layer":{"diffID":"sha512:a"}},{"layer":{"diffID":"sha512:b"},"under":[0,0],"keep":["/x"]}]}`))
	f.Add([]byte(`{"kind":"rkt render 1","steps":[{"layer":{},"under":[0]}]}`))
	f.Add([]byte(`{"kind":"rkt render 1"}`))
	f.Add([]byte(`{"kind":"rkt render 2","steps":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecipe(text)
		if err != nil {
			return
		}
		stack := r.stack() // ends, and has the last step on top
		if len(stack) == 0 || len(stack) > len(r.Steps) || stack[len(stack)-1].DiffID != r.Steps[len(r.Steps)-1].Layer.DiffID {
			t.Fatalf("%s: stack %v", text, stack)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRecipe(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func TestStack(t *testing.T) {
	step := func(id string, under ...int) recipeStep {
		return recipeStep{Layer: image.Layer{DiffID: image.Digest(id)}, Under: under}
	}
	for _, tc := range []struct {
		steps []recipeStep
		want  []string
	}{
		{[]recipeStep{step("a")}, []string{"a"}},
		{[]recipeStep{step("a"), step("b"), step("c", 0, 1)}, []string{"a", "b", "c"}},
		{[]recipeStep{step("a"), step("b"), step("c", 1, 0)}, []string{"b", "a", "c"}},
		{[]recipeStep{step("base"), step("l", 0), step("r", 0), step("top", 1, 2)}, []string{"l", "base", "r", "top"}},
		{[]recipeStep{step("base"), step("l", 0), step("top", 1, 0)}, []string{"l", "base", "top"}},
	} {
		var got []string
		for _, l := range (recipe{Steps: tc.steps}).stack() {
			got = append(got, string(l.DiffID))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: got %q, want %q", tc.steps, got, tc.want)
		}
	}
}

func TestSignatureURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h/a.aci":        "https://h/a.aci.asc",
		"https://h/a.aci?x=1&y":  "https://h/a.aci.asc?x=1&y",
		"https://h/a.aci#f":      "https://h/a.aci.asc#f",
		"https://h/a.aci?x#f?.c": "https://h/a.aci.asc?x#f?.c",
	} {
		if got := signatureURL(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
