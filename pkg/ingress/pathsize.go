package ingress

import (
	"cmp"
	"fmt"
	"regexp/syntax"
)

// Limits of the path expressions in a pushed configuration. A short text can compile to millions of instructions:
// repetitions multiply, and each instruction costs about 90 bytes.
const (
	// MaxPathText bounds the text of one path, in bytes.
	MaxPathText = 16 << 10
	// MaxPathSize bounds the compiled size of all paths of a document together, in instructions.
	MaxPathSize = 1 << 19
	// aloneShare is the part of MaxPathSize that a rule of Set.With may have, as others must have theirs.
	aloneShare = 1 << 13
)

// pathBudget adds up the size of a document's path expressions.
type pathBudget struct {
	enforced bool
	share    int // the limit; 0 is MaxPathSize
	used     int
}

// take adds an expression. It returns an error if the expression or the sum is too large. It leaves syntax errors to the
// compiler.
func (b *pathBudget) take(text string) error {
	if !b.enforced {
		return nil
	}
	if len(text) > MaxPathText {
		return fmt.Errorf("%d bytes, the limit is %d", len(text), MaxPathText)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil //nolint:nilerr // regexp.Compile reports it
	}
	b.used += compiledSize(re)
	if limit := cmp.Or(b.share, MaxPathSize); b.used > limit {
		return fmt.Errorf("the paths of the configuration compile to more than %d instructions", limit)
	}
	return nil
}

// compiledSize estimates how many instructions an expression compiles to. It stops counting above MaxPathSize.
func compiledSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		size = min(size+compiledSize(sub), MaxPathSize+1)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min+1, re.Max, 1) // at most 1001 times a bounded size
	}
	return min(size, MaxPathSize+1)
}
