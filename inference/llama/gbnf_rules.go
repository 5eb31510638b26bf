package llama

import (
	"strconv"
	"strings"
)

// repetition reads *, +, ?, {m}, {m,} or {m,n}, and repeats the last element of
// seq, which begins at item. An element of several places becomes a rule, so that
// each time costs one place.
func (p *gbnfParser) repetition(seq []int32, item int, nested bool) ([]int32, error) {
	at := p.pos
	least, most, err := p.times(nested)
	if err != nil {
		return nil, err
	}
	p.space(nested)
	if item == len(seq) {
		return nil, p.fail(at, "there is nothing before this to be repeated")
	}
	repeated := append([]int32(nil), seq[item:]...)
	if len(repeated) > 1 {
		id, err := p.newRule(gbnfRule{name: p.rule, at: at, alts: [][]int32{repeated}, exists: true})
		if err != nil {
			return nil, err
		}
		repeated = []int32{int32(id)}
	}
	one := repeated[0]
	if err := p.count(least + 4*max(most-least, 1)); err != nil {
		return nil, err
	}
	seq = seq[:item]
	for range least {
		seq = append(seq, one)
	}
	rest := -1
	if most < 0 {
		if rest, err = p.newRule(gbnfRule{name: p.rule, at: at, exists: true, loop: true}); err != nil {
			return nil, err
		}
		p.g.rules[rest].alts = [][]int32{{one, int32(rest)}, nil}
	}
	for range most - least {
		alt := []int32{one}
		if rest >= 0 {
			alt = append(alt, int32(rest))
		}
		if rest, err = p.newRule(gbnfRule{name: p.rule, at: at, exists: true, alts: [][]int32{alt, nil}}); err != nil {
			return nil, err
		}
	}
	if rest >= 0 {
		seq = append(seq, int32(rest))
	}
	return seq, nil
}

// times reads how often something comes; most is negative where there is no
// bound.
func (p *gbnfParser) times(nested bool) (least, most int, err error) {
	at := p.pos
	p.pos++
	switch p.text[at] {
	case '*':
		return 0, -1, nil
	case '+':
		return 1, -1, nil
	case '?':
		return 0, 1, nil
	}
	p.space(nested)
	if least, err = p.number(); err != nil {
		return 0, 0, err
	}
	p.space(nested)
	most = least
	if p.peek() == ',' {
		p.pos++
		p.space(nested)
		most = -1
		if c := p.peek(); c >= '0' && c <= '9' {
			if most, err = p.number(); err != nil {
				return 0, 0, err
			}
			p.space(nested)
		}
	}
	if p.peek() != '}' {
		return 0, 0, p.expected("} or a comma in a repetition {m,n}")
	}
	p.pos++
	if most >= 0 && most < least {
		return 0, 0, p.fail(at, "this repetition ends before it begins: swap its bounds")
	}
	return least, most, nil
}

func (p *gbnfParser) number() (int, error) {
	from := p.pos
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
	}
	if p.pos == from {
		return 0, p.expected("a number")
	}
	n, err := strconv.Atoi(p.text[from:p.pos])
	if err != nil || n > MaxGrammarRepeat {
		return 0, p.fail(from, "a repetition may have at most %d times: lower the bound, or leave the upper one out, as in {3,}", MaxGrammarRepeat)
	}
	return n, nil
}

// complete refuses a grammar that refers to what it does not define.
func (p *gbnfParser) complete() error {
	for i := range p.g.rules {
		if r := &p.g.rules[i]; !r.exists {
			return p.fail(r.at, "the rule %s is not defined: add a line %s ::= ...", short(r.name), short(r.name))
		}
	}
	root, ok := p.names["root"]
	if !ok {
		return p.fail(0, "there is no rule root, with which the answer begins: add a line root ::= ...")
	}
	p.g.root = root
	return nil
}

// nullable tells which rules match the empty text, by counting down, for each
// alternative, the elements that are not known to.
func (g *gbnfGrammar) nullable() []bool {
	type place struct{ rule, alt int }
	users := make([][]place, len(g.rules))
	left := make([][]int, len(g.rules))
	empty := make([]bool, len(g.rules))
	var todo []int
	mark := func(rule int) {
		if !empty[rule] {
			empty[rule] = true
			todo = append(todo, rule)
		}
	}
	for i := range g.rules {
		left[i] = make([]int, len(g.rules[i].alts))
		for j, alt := range g.rules[i].alts {
			left[i][j] = len(alt)
			for _, e := range alt {
				if e >= 0 {
					users[e] = append(users[e], place{i, j})
				}
			}
			if len(alt) == 0 {
				mark(i)
			}
		}
	}
	for len(todo) > 0 {
		rule := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, u := range users[rule] {
			if left[u.rule][u.alt]--; left[u.rule][u.alt] == 0 {
				mark(u.rule)
			}
		}
	}
	return empty
}

// leftRecursion refuses a rule that may begin with itself, also behind what may
// be empty: no model could ever write its first character by it. The end of a
// repetition's rule, which is such a place where what is repeated may be empty,
// is none: it matches nothing new.
func (p *gbnfParser) leftRecursion() error {
	empty := p.g.nullable()
	first := make([][]int32, len(p.g.rules)) // the rules that a rule may begin with
	for i := range p.g.rules {
		r := &p.g.rules[i]
		for _, alt := range r.alts {
			for _, e := range alt {
				if e < 0 {
					break
				}
				if !r.loop || int(e) != i {
					first[i] = append(first[i], e)
				}
				if !empty[e] {
					break
				}
			}
		}
	}
	const open, done = 1, 2
	state := make([]uint8, len(p.g.rules))
	type step struct {
		rule int32
		next int
	}
	for start := range p.g.rules {
		if state[start] != 0 {
			continue
		}
		state[start] = open
		path := []step{{rule: int32(start)}}
		for len(path) > 0 {
			top := &path[len(path)-1]
			if top.next == len(first[top.rule]) {
				state[top.rule] = done
				path = path[:len(path)-1]
				continue
			}
			to := first[top.rule][top.next]
			top.next++
			switch state[to] {
			case open:
				var names []string
				for i := len(path) - 1; i >= 0; i-- {
					if n := short(p.g.rules[path[i].rule].name); len(names) == 0 || names[len(names)-1] != n {
						names = append(names, n)
					}
					if path[i].rule == to {
						break
					}
				}
				r := &p.g.rules[to]
				return p.fail(r.at, "the rule %s may begin with itself (by way of %.200s): let it begin with something else, or write the repetition with * or +", short(r.name), strings.Join(names, ", "))
			case 0:
				state[to] = open
				path = append(path, step{rule: to})
			}
		}
	}
	return nil
}
