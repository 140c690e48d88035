package ingress

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Addition says what became of a rule that Set.With was to add.
type Addition struct {
	// Err is why the rule was left out.
	Err error
	// Warnings say what an operator should look at in a rule that was added.
	Warnings []string
}

// With gives a copy of the set that has further rules before its last one, which matches everything. They have the top-level settings of
// the set, and the limits of pushed rules: they come from elsewhere than the operator's file. A rule with a fault, or one that could never
// be chosen, is left out and keeps no other one out. Of the result, the element i is about specs[i].
func (s *Set) With(specs []RuleSpec) (*Set, []Addition) {
	all := make([]Addition, len(specs))
	c := *s
	last := len(s.Rules) - 1
	c.Rules = slices.Clone(s.Rules[:last])
	doc := Document{}
	if s.source != nil {
		doc = *s.source
		doc.Ingress = slices.Clone(doc.Ingress[:max(len(doc.Ingress)-1, 0)])
	}
	covered := newCoverage(c.Rules)
	for i := range specs {
		rule, warnings, err := s.compileAlone(&specs[i])
		if err == nil {
			err = covered.add(&rule, len(c.Rules))
		}
		if err != nil {
			all[i].Err = err
			continue
		}
		all[i].Warnings = warnings
		c.Rules = append(c.Rules, rule)
		doc.Ingress = append(doc.Ingress, specs[i])
	}
	c.Rules = append(c.Rules, s.Rules[last])
	if s.source != nil {
		doc.Ingress = append(doc.Ingress, s.source.Ingress[max(len(s.source.Ingress)-1, 0):]...)
		c.source = &doc
	}
	c.rebuild()
	return &c, all
}

var errLeadsAnywhere = errors.New("a rule from elsewhere than the configuration file cannot let visitors name the destination")

// compileAlone compiles one rule, as if the last rule of the set came after it.
func (s *Set) compileAlone(spec *RuleSpec) (Rule, []string, error) {
	scratch := &Set{OriginRequest: s.OriginRequest}
	doc := &Document{Ingress: []RuleSpec{*spec, {Service: prefixStatus + "404"}}}
	rule, err := scratch.compileRule(doc, 0, &pathBudget{enforced: true, share: aloneShare})
	if err != nil {
		return Rule{}, nil, errors.New(alone(err.Error()))
	}
	if rule.Service.Kind == KindSocks || rule.Origin.BastionMode || rule.Origin.ProxyType != "" {
		return Rule{}, nil, errLeadsAnywhere
	}
	for i, text := range scratch.warnings {
		scratch.warnings[i] = alone(text)
	}
	return rule, scratch.warnings, nil
}

// alone takes the number of the rule out of a text about it: it has none yet.
func alone(text string) string {
	if rest, is := strings.CutPrefix(text, "Rule #1: "); is {
		return rest
	}
	if rest, is := strings.CutPrefix(text, "Rule #1 "); is {
		return "it " + rest
	}
	return text
}

// coverage knows which hosts and paths have rules that take all their requests.
type coverage struct {
	hosts []string
	seen  map[[2]string]int
	open  map[string]int
}

func newCoverage(rules []Rule) *coverage {
	c := &coverage{seen: map[[2]string]int{}, open: map[string]int{}}
	for i := range rules {
		_ = c.add(&rules[i], i) // the operator's own rules may shadow each other
	}
	return c
}

// add adds the rule with the index i, or says that it would never be chosen.
func (c *coverage) add(rule *Rule, i int) error {
	c.hosts = append(c.hosts[:i], rule.Hostname)
	if rule.conditions != nil {
		return nil
	}
	pattern := patternKey(rule.Hostname)
	key := [2]string{pattern, rule.Path}
	if first, ok := c.seen[key]; ok {
		return fmt.Errorf("it would never be chosen: rule #%d has the same hostname and path", first+1)
	}
	if first, ok := shadow(c.open, pattern); ok {
		return fmt.Errorf("it would never be chosen: rule #%d (hostname '%s') matches all its requests", first+1, c.hosts[first])
	}
	c.seen[key] = i
	if rule.Path == "" {
		c.open[pattern] = i
	}
	return nil
}
