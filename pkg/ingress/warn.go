package ingress

import (
	"fmt"
	"strings"
)

// findWarnings lists rules that can never be chosen or whose hostname no request has, and says which rules a top-level protection covers,
// since the reference ignores it (docs/spec/ingress.md D1, D3, D28).
func findWarnings(rules []Rule, doc *Document) []string {
	var warnings []string
	seen := make(map[[2]string]int, len(rules)) // canonical host and path -> first rule
	open := make(map[string]int, len(rules))    // canonical pattern of rules without path -> first rule
	for i := range rules {
		if name := strings.TrimSpace(rules[i].Hostname); name != rules[i].Hostname {
			warnings = append(warnings, fmt.Sprintf(
				"Rule #%d has the hostname '%s' with a blank at an end, which no request has: write '%s'", i+1, rules[i].Hostname, name))
		}
		if rules[i].conditions != nil {
			continue // it leaves requests to the rules after it
		}
		pattern := patternKey(rules[i].Hostname)
		key := [2]string{pattern, rules[i].Path}
		if first, ok := seen[key]; ok {
			warnings = append(warnings, fmt.Sprintf(
				"Rule #%d has the same hostname and path as rule #%d and is never triggered", i+1, first+1))
			continue
		}
		seen[key] = i
		if first, ok := shadow(open, pattern); ok {
			warnings = append(warnings, fmt.Sprintf(
				"Rule #%d is never triggered: rule #%d (hostname '%s') comes first and matches all its requests",
				i+1, first+1, rules[first].Hostname))
			continue
		}
		if rules[i].Path == "" {
			open[pattern] = i
		}
	}
	return append(warnings, inheritedNotices(rules, doc)...)
}

// patternKey is the canonical text of a rule's host: "" for any host, ".rest" for a wildcard.
func patternKey(hostname string) string {
	if matchesAnyHost(hostname) {
		return ""
	}
	name, wildcard := canonicalPattern(hostname)
	if wildcard {
		return "*" + name
	}
	return name
}

// shadow finds an earlier rule without path that covers every host of pattern.
func shadow(open map[string]int, pattern string) (int, bool) {
	if pattern == "" {
		return 0, false // the catch-all is reached by all other hosts
	}
	if i, ok := open[pattern]; ok {
		return i, true
	}
	for at := strings.IndexByte(pattern, '.'); at >= 0; {
		if i, ok := open["*"+pattern[at:]]; ok {
			return i, true
		}
		next := strings.IndexByte(pattern[at+1:], '.')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return 0, false
}

func inheritedNotices(rules []Rule, doc *Document) []string {
	var notices []string
	if a := doc.OriginRequest.Access; a != nil && a.Required {
		covered := rulesWhere(doc, func(i int) bool { return doc.Ingress[i].OriginRequest.Access == nil })
		if covered != "" {
			notices = append(notices, "The access settings of the top-level originRequest protect "+covered)
		}
	}
	if len(doc.OriginRequest.IPRules) > 0 {
		covered := rulesWhere(doc, func(i int) bool {
			enforced := rules[i].Service.Kind == KindSocks || rules[i].Service.Kind == KindBastion
			return enforced && len(doc.Ingress[i].OriginRequest.IPRules) == 0
		})
		if covered != "" {
			notices = append(notices, "The ipRules of the top-level originRequest apply to "+covered)
		}
	}
	return notices
}

func rulesWhere(doc *Document, keep func(i int) bool) string {
	var names []string
	for i := range doc.Ingress {
		if keep(i) {
			names = append(names, fmt.Sprintf("rule #%d", i+1))
		}
	}
	return strings.Join(names, ", ")
}
